"""Which emojis are variants of one another, and which code points are no emoji."""

from pathlib import Path

import pytest

from vnca_jax.data import emoji_names


def codes_of(name: str) -> tuple[int, ...]:
    codes = emoji_names.from_file_name(Path(f"emoji_u{name}.png"))
    assert codes is not None and codes == tuple(int(code, 16) for code in name.split("_"))
    return codes


@pytest.mark.parametrize(
    "variants",
    [
        ["1f44b", "1f44b_1f3fb", "1f44b_1f3fd", "1f44b_1f3ff"],
        ["261d", "261d_fe0f", "261d_1f3fc"],
        ["1f3c3", "1f3c3_1f3ff", "1f3c3_200d_2640_fe0f", "1f3c3_1f3fb_200d_2642", "2640_200d_1f3c3_1f3fb",
         "1f3c3_1f3fb_200d_2640_200d_27a1", "1f3c3_200d_27a1_fe0f"],
        ["1f9d1_200d_1f680", "1f468_200d_1f680", "1f469_1f3fe_200d_1f680", "1f680_200d_1f469_1f3fe"],
        ["1f9d1", "1f468", "1f469_1f3fb"],
        ["1f46b", "1f46c_1f3fb", "1f46d", "1f9d1_200d_1f91d_200d_1f9d1",
         "1f469_1f3fb_200d_1f91d_200d_1f468_1f3ff"],
        ["1f48f", "1f48f_1f3fb", "1f9d1_1f3fb_200d_2764_fe0f_200d_1f48b_200d_1f9d1_1f3fc",
         "1f469_200d_2764_200d_1f48b_200d_1f468"],
        ["1f491", "1f491_1f3ff", "1f468_200d_2764_200d_1f468"],
        ["1f46a", "1f468_200d_1f469_200d_1f466", "1f9d1_200d_1f9d1_200d_1f9d2", "1f466_200d_1f468_200d_1f468"],
        ["1f91d", "1f91d_1f3fb", "1faf1_1f3fb_200d_1faf2_1f3ff"],
        ["2640", "2640_fe0f"],
        ["1f1e9_1f1ea"], ["1f1ea_1f1e9"], ["2764"], ["1f3f4"], ["1f3f4_200d_2620"], ["1faf1"], ["1f9d1_200d_1f9b0"],
    ],
)  # fmt: skip
def test_variants_have_one_name_and_others_another(variants):
    names = {emoji_names.base_name(codes_of(variant)) for variant in variants}
    assert len(names) == 1
    others = ("1f600", "1f9d1_200d_1f33e", "1f468_200d_1f466", "23_20e3", "2642", "1f46f", "1f1eb_1f1f7")
    assert names.isdisjoint({emoji_names.base_name(codes_of(other)) for other in others})


def test_names_are_told_apart():
    separate = ["1f1e9_1f1ea", "1f1ea_1f1e9", "2764", "1f3f4", "1f3f4_200d_2620", "1faf1", "1f9d1_200d_1f9b0", "1f9d1",
                "1f46b", "1f48f", "1f491", "1f46a", "1f91d", "2640"]  # fmt: skip
    assert len({emoji_names.base_name(codes_of(name)) for name in separate}) == len(separate)


PARTS = ("23", "2a", "30", "39", "20e3", "1f1e6", "1f1ff", "1f3fb", "1f3ff", "1f9b0", "1f9b3", "200d", "fe0f",
         "30_fe0f", "e0062", "1f3f4_e007f")  # fmt: skip
WHOLE = ("a9", "30_20e3", "30_fe0f_20e3", "1f1e6_1f1e8", "1f3f4", "1f44b_1f3fb", "1f9b4", "1f3f4_e0067_e0062_e007f",
         "1f9d1_200d_1f9b0")  # fmt: skip


def test_what_is_an_emoji():
    assert [name for name in (*PARTS, *WHOLE) if emoji_names.is_emoji(codes_of(name))] == [*WHOLE]


def test_file_names():
    for name in ("emoji_u", "emoji_u1F600", "emoji_u1f600_", "emoji_u1f600-1f3fb", "u1f600", "emoji_u12345678"):
        assert emoji_names.from_file_name(Path(f"a/{name}.png")) is None

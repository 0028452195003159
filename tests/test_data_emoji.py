"""Emojis from a small font that the tests build and from PNG files; which ones are variants of one another."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_font
from tiny_pictures import png, resized, smooth, use_tmp_path_only

from vnca_jax import data
from vnca_jax.data import emoji, emoji_font, emoji_names
from vnca_jax.errors import InputError

WAVE, GRIN, ROCKET, FOX, GASP, RUN, LETTER = 0x1F44B, 0x1F600, 0x1F680, 0x1F98A, 0x1F62E, 0x1F3C3, 0x1F1E6
LIGHT, DARK, PRIVATE = 0x1F3FB, 0x1F3FF, 0xFE82C
FEMALE, JOINER, KEYCAP, ONE = 0x2640, 0x200D, 0x20E3, 0x31

CHARACTERS = {
    WAVE: "wave",
    GRIN: "grin",
    ROCKET: "rocket",
    FOX: "fox",
    GASP: "gasp",
    RUN: "run",
    LETTER: "letter",
    LIGHT: "light",
    DARK: "dark",
    FEMALE: "female",
    JOINER: "joiner",
    KEYCAP: "keycap",
    ONE: "one",
    PRIVATE: "keyone",
}
LIGATURES = [
    ("wave light", "wave_light"),
    ("wave dark", "wave_dark"),
    ("run dark joiner female", "run_dark_woman"),
    ("female joiner run dark", "run_dark_woman"),  # in the other direction of writing
    ("one keycap", "keyone"),
    ("keyone fox", "keyfox"),  # a ligature of a ligature
]
# Which glyphs with a picture are emojis, and of which code points; the others are parts of emojis or empty.
EMOJIS = {
    "keyone": (ONE, KEYCAP),
    "keyfox": (ONE, KEYCAP, FOX),
    "run": (RUN,),
    "run_dark_woman": (FEMALE, JOINER, RUN, DARK),
    "wave": (WAVE,),
    "wave_light": (WAVE, LIGHT),
    "wave_dark": (WAVE, DARK),
    "grin": (GRIN,),
    "gasp": (GASP,),
    "rocket": (ROCKET,),
    "fox": (FOX,),
}
# The names of variants, and the glyphs that have them, both in ascending order of code points.
BASES = [
    ("1f3c3", ["run_dark_woman", "run"]),
    ("1f44b", ["wave", "wave_light", "wave_dark"]),
    ("1f600", ["grin"]),
    ("1f62e", ["gasp"]),
    ("1f680", ["rocket"]),
    ("1f98a", ["fox"]),
    ("31_20e3", ["keyone"]),
    ("31_20e3_1f98a", ["keyfox"]),
]


@pytest.fixture(autouse=True)
def _only_here(tmp_path, monkeypatch):
    use_tmp_path_only(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """RGBA of 136x128 pixels with four empty columns on either side; the picture of `fox` shows nothing."""
    drawn = {}
    for seed, glyph in enumerate([*EMOJIS, "letter", "light", "one"]):
        drawn[glyph] = np.pad(smooth(seed, 128, 128, 4), ((0, 0), (4, 4), (0, 0)))
    drawn["fox"][..., 3] = 0
    return drawn


@pytest.fixture(scope="module")
def font(pictures, tmp_path_factory) -> Path:
    strikes = {109: {glyph: png(picture) for glyph, picture in pictures.items()},
               20: {"grin": png(pictures["rocket"])}}  # fmt: skip
    return tiny_font.write(tmp_path_factory.mktemp("font") / "NotoColorEmoji.ttf", CHARACTERS, LIGATURES, strikes)


def put(font: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "NotoColorEmoji.ttf").symlink_to(font)
    return folder


def write_pngs(folder: Path, pictures: dict[str, np.ndarray]) -> Path:
    """As the repository has them, 128x128 pixels and named by their code points; and files that are something else."""
    folder.mkdir(parents=True)
    for glyph, codes in EMOJIS.items():
        (folder / f"emoji_u{'_'.join(f'{code:x}' for code in codes)}.png").write_bytes(png(pictures[glyph][:, 4:132]))
    (folder / "emoji_u1f1e6.png").write_bytes(png(pictures["letter"][:, 4:132]))
    for name in ("emoji_u.png", "emoji_uxyz.png", "other.png"):
        (folder / name).write_bytes(b"not looked at")
    return folder


def expected(pictures: dict[str, np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Training and test images in the order of BASES: on white, in small, split by SHA-256, the validation images last.

    And the number of these.
    """
    train, validation, test = [], [], []
    for base, glyphs in BASES:
        share = int(hashlib.sha256(base.encode()).hexdigest(), 16) / 2**256
        for glyph in glyphs:
            if glyph == "fox":
                continue
            colour, alpha = np.split(pictures[glyph][:, 4:132].astype(int), [3], axis=2)
            on_white = np.floor((colour * alpha + 255 * (255 - alpha)) / 255 + 0.5)
            (test if share < 0.2 else validation if share >= 0.92 else train).append(resized(on_white, size))
    return np.stack(train + validation), np.stack(test), len(validation)


def assert_holds(dataset: data.Dataset, pictures: dict[str, np.ndarray], size: int = 64) -> None:
    assert dataset.name == "emoji" and dataset.train.dtype == dataset.test.dtype == np.uint8
    train, test, num_validation = expected(pictures, size)
    assert np.array_equal(dataset.train, train) and np.array_equal(dataset.test, test)
    assert dataset.num_validation == num_validation


def test_font(font, pictures, tmp_path, capsys):
    dataset = data.load("emoji", data_dir=put(font, tmp_path / "given"))
    assert_holds(dataset, pictures)
    assert len(dataset.test) > 0
    said = f"emoji: 10 images, {len(dataset.test)} of them test images (the paper: 2,656 and 531).\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(("kind", "folder"), [("font", "kaggle/noto/files"), ("font", "fonts/truetype/noto"),
                                              ("font", "named/emoji"), ("pngs", "named/emoji"),
                                              ("pngs", "kaggle/emojis/128")])  # fmt: skip
def test_where_it_is_found(font, pictures, tmp_path, monkeypatch, kind, folder):
    monkeypatch.setenv("VNCA_DATA_DIR", str(tmp_path / "named"))
    put(font, tmp_path / folder) if kind == "font" else write_pngs(tmp_path / folder, pictures)
    assert_holds(data.load("emoji", size=32), pictures, 32)


def test_font_and_files_are_split_alike(font, pictures, tmp_path):
    from_font = data.load("emoji", size=32, data_dir=put(font, tmp_path / "a"))
    from_files = data.load("emoji", size=32, data_dir=write_pngs(tmp_path / "b", pictures))
    assert np.array_equal(from_font.train, from_files.train) and np.array_equal(from_font.test, from_files.test)


def test_duplicates_are_left_out(pictures, tmp_path):
    twice = pictures | {"gasp": pictures["grin"], "wave_dark": pictures["wave_light"]}
    dataset = data.load("emoji", size=32, data_dir=write_pngs(tmp_path / "given", twice))
    images = [image.tobytes() for image in (*dataset.train, *dataset.test)]
    assert len(images) == len(set(images)) == 8


def test_nothing_but_a_transparent_pixel_counts_as_drawn():
    pixels = np.zeros((128, 128, 4), np.uint8)
    assert emoji.on_white(png(pixels), 32) is None
    pixels[5, 7] = [0, 0, 0, 255]
    image = emoji.on_white(png(pixels), 32)
    assert image is not None and image[1, 1].tolist() == resized(255 - pixels[..., 3:], 32)[1, 1].tolist() * 3


def test_code_points(font):
    found = {codes for codes, _ in emoji_font.pictures(font)}
    assert found == {*EMOJIS.values(), (LETTER,), (LIGHT,), (ONE,)}


# The cache


def test_cache(font, pictures, tmp_path, monkeypatch):
    folder = put(font, tmp_path / "given")
    files = write_pngs(tmp_path / "files", pictures | {"grin": pictures["light"]})
    data.load("emoji", size=32, data_dir=folder)
    data.load("emoji", size=32, data_dir=files)
    wholes = {path: path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    assert len(wholes) == 2
    monkeypatch.setattr(emoji, "make_dataset", None)  # from here on only the cache can answer
    assert_holds(data.load("emoji", size=32, data_dir=folder), pictures, 32)
    assert_holds(data.load("emoji", size=32, data_dir=files), pictures | {"grin": pictures["light"]}, 32)
    monkeypatch.undo()
    use_tmp_path_only(tmp_path, monkeypatch)
    for path, whole in wholes.items():
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert_holds(data.load("emoji", size=32, data_dir=folder), pictures, 32)
    assert sum(path.read_bytes() == whole for path, whole in wholes.items()) == 1
    (tmp_path / "file").write_text("in the way")
    assert_holds(data.load("emoji", size=32, data_dir=folder, cache_dir=tmp_path / "file"), pictures, 32)


# What is refused


def test_nothing_there(tmp_path):
    what = (
        "install NotoColorEmoji.ttf (Debian's package fonts-noto-color-emoji), or put it, or the PNG files of the Noto "
        "emoji repository (emoji_u1f600.png and so on), into a folder or its sub-folder emoji and name the folder with "
        "--data-dir or $VNCA_DATA_DIR, or attach them as a dataset under /kaggle/input."
    )
    with pytest.raises(InputError, match=f"^emoji was not found: {re.escape(what)}$"):
        data.load("emoji")
    with pytest.raises(InputError) as error:
        data.load("emoji", data_dir=tmp_path)
    assert str(error.value) == f"The data folder {tmp_path} holds no emojis: {what}"


def test_wrong_files(pictures, tmp_path):
    path = tiny_font.write(tmp_path / "NotoColorEmoji.ttf", CHARACTERS, LIGATURES, {})
    with pytest.raises(InputError, match=f"^{path} has no bitmaps .tables CBDT and CBLC.: take NotoColorEmoji.ttf of"):
        data.load("emoji", data_dir=tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=rf"^{path} cannot be read as a font \(.*\): replace it.$"):
        data.load("emoji", data_dir=tmp_path)
    folder = write_pngs(tmp_path / "a", pictures)
    torn = (folder / "emoji_u1f44b_1f3ff.png").read_bytes()
    (folder / "emoji_u1f44b_1f3ff.png").write_bytes(torn[: len(torn) // 2])
    with pytest.raises(InputError, match=rf"^The picture of emoji_u1f44b_1f3ff in {folder} cannot be read \(.*\): "):
        data.load("emoji", data_dir=folder)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/emoji_u1f600.png").write_bytes(png(pictures["grin"]))
    with pytest.raises(InputError) as error:
        data.load("emoji", data_dir=tmp_path / "b")
    where = tmp_path / "b/emoji_u1f600.png"
    assert str(error.value) == f"{where} holds 1 emojis, too few to split into training and test images."


# The real font


def test_noto_color_emoji(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("VNCA_CACHE_DIR", str(tmp_path))
    try:
        files = emoji._find(None)
    except InputError as error:
        pytest.skip(str(error))
    if files[0].name != emoji.FONT_FILE:
        pytest.skip(f"{files[0].parent} holds PNG files, and this test is about the font")
    pictures = emoji_font.pictures(files[0])
    groups: dict[str, set[str]] = {side: set() for side in ("train", "validation", "test")}
    for codes, _ in pictures:
        text = "".join(chr(code) for code in codes if not 0x1F3FB <= code <= 0x1F3FF)
        if emoji_names.is_emoji(codes):
            groups[emoji.side(emoji_names.base_name(codes))].add(str(sorted(text.split("\u200d"))))
    assert sum(map(len, groups.values())) == len(set.union(*groups.values())) and len(groups["test"]) > 300
    dataset = data.load("emoji", size=32, data_dir=files[0].parent)
    images = [image.tobytes() for image in (*dataset.train, *dataset.test)]
    assert len(images) == len(set(images)) > 3000
    assert 0.15 < len(dataset.test) / len(images) < 0.25
    if os.path.getsize(files[0]) == DEBIAN_12_BYTES:
        assert (len(dataset.train), dataset.num_validation, len(dataset.test)) == DEBIAN_12_COUNTS


DEBIAN_12_BYTES, DEBIAN_12_COUNTS = 10_980_856, (3044, 224, 823)  # version 2.042

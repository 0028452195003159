"""Which emojis are variants of one another: code points, and their names in the files of the Noto emoji repository."""

import re
from pathlib import Path

CodePoints = tuple[int, ...]

ZERO_WIDTH_JOINER = 0x200D
VARIATION_SELECTOR = 0xFE0F
SKIN_TONES = range(0x1F3FB, 0x1F400)
REGIONAL_INDICATORS = range(0x1F1E6, 0x1F200)
HAIR = range(0x1F9B0, 0x1F9B4)
TAGS = range(0xE0020, 0xE0080)
KEYCAP_PARTS = frozenset([*b"#*0123456789", 0x20E3])
FEMALE, MALE, RIGHTWARDS = 0x2640, 0x2642, 0x27A1
UNKNOWN_FLAG = (0x1F3F4, 0xE007F)  # what the font draws for a flag that it does not have

PERSON, CHILD, OLDER_PERSON = 0x1F9D1, 0x1F9D2, 0x1F9D3
GENDERLESS = {
    **dict.fromkeys((0x1F468, 0x1F469), PERSON),  # man, woman
    **dict.fromkeys((0x1F466, 0x1F467), CHILD),  # boy, girl
    **dict.fromkeys((0x1F474, 0x1F475), OLDER_PERSON),  # old man, old woman
}
# Emojis of two or more people, whose variants of mixed skin tones or other people are written out as sequences.
WRITTEN_OUT = {
    **dict.fromkeys((0x1F46B, 0x1F46C, 0x1F46D), ((PERSON,), (0x1F91D,), (PERSON,))),  # holding hands
    0x1F48F: ((PERSON,), (0x2764,), (0x1F48B,), (PERSON,)),  # kiss
    0x1F491: ((PERSON,), (0x2764,), (PERSON,)),  # couple with heart
    0x1F46A: ((PERSON,), (PERSON,), (CHILD,)),  # family
    0x1F91D: ((0x1FAF1,), (0x1FAF2,)),  # handshake, of a rightwards and a leftwards hand
}


def from_file_name(path: Path) -> CodePoints | None:
    """The code points of a file of the Noto emoji repository, such as emoji_u1f44b_1f3fb.png; None for other names."""
    if not re.fullmatch(r"emoji_u[0-9a-f]{2,6}(_[0-9a-f]{2,6})*", path.stem):
        return None
    return tuple(int(code, 16) for code in path.stem.removeprefix("emoji_u").split("_"))


def is_emoji(codes: CodePoints) -> bool:
    """Whether these are an emoji and not a part of one alone: a letter of a flag, a key, a skin tone, hair, or a tag.

    These are Unicode's emoji components. The sign for an unknown flag is no emoji either.
    """
    codes = tuple(code for code in codes if code != VARIATION_SELECTOR)
    if not codes or codes == UNKNOWN_FLAG:
        return False
    parts = (SKIN_TONES, REGIONAL_INDICATORS, HAIR, TAGS, KEYCAP_PARTS, (ZERO_WIDTH_JOINER,))
    return len(codes) > 1 or not any(code in part for code in codes for part in parts)


def base_name(codes: CodePoints) -> str:
    """What an emoji's variants have in common: the name of the emoji without skin tones, gender and direction.

    Men and women count as persons, boys and girls as children. The joined parts are sorted, because fonts know a
    sequence in both directions of writing. All of one name belong on one side of a split.
    """
    joined = _joined_parts(codes)
    joined = [part for part in joined if part not in ((FEMALE,), (MALE,), (RIGHTWARDS,))] or joined
    parts = [tuple(GENDERLESS.get(code, code) for code in part if code not in SKIN_TONES) for part in joined]
    if len(parts) == len(parts[0]) == 1:
        parts = WRITTEN_OUT.get(parts[0][0], parts)
    return "-".join("_".join(f"{code:x}" for code in part) for part in sorted(parts))


def _joined_parts(codes: CodePoints) -> list[CodePoints]:
    """The parts of a sequence between its zero-width joiners, without variation selectors."""
    parts: list[list[int]] = [[]]
    for code in codes:
        if code == ZERO_WIDTH_JOINER:
            parts.append([])
        elif code != VARIATION_SELECTOR:
            parts[-1].append(code)
    return [tuple(part) for part in parts if part]

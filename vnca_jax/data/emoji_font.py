"""The pictures in a bitmap font of emojis (tables CBDT and CBLC), and the code points that each stands for."""

from pathlib import Path
from typing import Any

from vnca_jax.data.emoji_names import CodePoints
from vnca_jax.errors import InputError

LIGATURES, EXTENSION = 4, 7  # types of lookups of the table GSUB
PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0x110000))


def pictures(path: Path) -> list[tuple[CodePoints, bytes]]:
    """The PNG of each glyph, from the largest strike, with its code points; glyphs that no text leads to are left out.

    Raises InputError for a file that is no font, or a font without bitmaps.
    """
    from fontTools.ttLib import TTFont  # takes a while to import

    try:
        with open(path, "rb") as file, TTFont(file, lazy=True) as font:
            if "CBDT" not in font or "CBLC" not in font:
                raise InputError(
                    f"{path} has no bitmaps (tables CBDT and CBLC): take NotoColorEmoji.ttf of Debian's package "
                    "fonts-noto-color-emoji."
                )
            names = code_points(font)
            sizes = [strike.bitmapSizeTable.ppemY for strike in font["CBLC"].strikes]
            glyphs = font["CBDT"].strikeData[sizes.index(max(sizes))]
            return [(names[glyph], bytes(bitmap.imageData)) for glyph, bitmap in glyphs.items() if glyph in names]
    except InputError:
        raise
    except Exception as error:  # fontTools' are of many types
        raise InputError(f"{path} cannot be read as a font ({error}): replace it.") from error


def code_points(font: Any) -> dict[str, CodePoints]:
    """The code points of each glyph, by way of the table cmap and the ligatures of GSUB.

    Where several texts give one glyph it is the first in ascending order, those with private code points coming last.
    """
    texts = {glyph: {(code,)} for code, glyph in font.getBestCmap().items()}
    ligatures, known = _ligatures(font), {}
    while known != (latest := {glyph: min(found, key=_rank) for glyph, found in texts.items()}):
        known = latest
        for parts, glyph in ligatures:
            if all(part in known for part in parts):
                texts.setdefault(glyph, set()).add(tuple(code for part in parts for code in known[part]))
    return known


def _rank(text: CodePoints) -> tuple[bool, CodePoints]:
    return any(code in private for code in text for private in PRIVATE_USE), text


def _ligatures(font: Any) -> list[tuple[tuple[str, ...], str]]:
    """The glyphs that are drawn as one, and which one that is, of all the ligatures in the font."""
    if "GSUB" not in font or font["GSUB"].table.LookupList is None:
        return []
    found = []
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            table = table.ExtSubTable if table.LookupType == EXTENSION else table
            if table.LookupType == LIGATURES:
                for first, ligatures in table.ligatures.items():
                    found.extend(((first, *ligature.Component), ligature.LigGlyph) for ligature in ligatures)
    return found

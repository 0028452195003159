"""A bitmap font of a few emojis in the tables of Noto Color Emoji."""

from pathlib import Path
from typing import Any

from fontTools.feaLib.builder import addOpenTypeFeaturesFromString
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib import newTable
from fontTools.ttLib.tables import C_B_D_T_, E_B_L_C_, BitmapGlyphMetrics

LINE_METRICS = (
    *("ascender", "descender", "widthMax", "caretSlopeNumerator", "caretSlopeDenominator", "caretOffset"),
    *("minOriginSB", "minAdvanceSB", "maxBeforeBL", "minAfterBL", "pad1", "pad2"),
)


def write(
    path: Path, characters: dict[int, str], ligatures: list[tuple[str, str]], strikes: dict[int, dict[str, bytes]]
) -> Path:
    """A font with the glyphs of `characters`, of `ligatures` (components, glyph) and the PNG files of each strike."""
    glyphs = [".notdef", *dict.fromkeys([*characters.values(), *(glyph for _, glyph in ligatures)])]
    builder = FontBuilder(1024, isTTF=False)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(characters)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1024, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupPost(keepGlyphNames=True)
    if ligatures:
        rules = "".join(f"sub {components} by {glyph};" for components, glyph in ligatures)
        addOpenTypeFeaturesFromString(builder.font, f"feature ccmp {{ {rules} }} ccmp;")
    if strikes:
        _add_bitmaps(builder.font, strikes)
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return path


def _add_bitmaps(font: Any, strikes: dict[int, dict[str, bytes]]) -> None:
    data: Any = newTable("CBDT")
    places: Any = newTable("CBLC")
    data.version = places.version = 3.0
    data.strikeData, places.strikes = [], []
    for pixels, bitmaps in strikes.items():
        data.strikeData.append({name: _bitmap(content) for name, content in bitmaps.items()})
        strike = E_B_L_C_.Strike()
        for field in ("hori", "vert"):
            metrics = E_B_L_C_.SbitLineMetrics()
            for name in LINE_METRICS:
                setattr(metrics, name, 0)
            setattr(strike.bitmapSizeTable, field, metrics)
        size: Any = strike.bitmapSizeTable
        size.colorRef, size.flags, size.bitDepth, size.ppemX, size.ppemY = 0, 1, 32, pixels, pixels
        table = E_B_L_C_.eblc_sub_table_classes[1](b"", font)
        table.names = sorted(bitmaps, key=font.getGlyphID)
        table.indexFormat, table.imageFormat = 1, 17
        strike.indexSubTables = [table]
        places.strikes.append(strike)
    font["CBDT"], font["CBLC"] = data, places


def _bitmap(content: bytes) -> Any:
    bitmap = C_B_D_T_.cbdt_bitmap_format_17(b"", None)
    bitmap.metrics, bitmap.imageData = BitmapGlyphMetrics.SmallGlyphMetrics(), content
    for name in ("height", "width", "BearingX", "BearingY", "Advance"):
        setattr(bitmap.metrics, name, 100)
    return bitmap

"""One picture from the bytes of its file: upright, and in levels of 8 bits whatever depth it is kept in."""

import io
import struct
from typing import Any

import numpy as np
from PIL import ExifTags, Image

ORIENTATION = int(ExifTags.Base.Orientation)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF
CODESTREAM, PRECISION_AT = (
    b"\xff\x4f\xff\x51",
    42,
)  # of JPEG 2000: its beginning, its bits per pixel


def opened(content: bytes) -> Image.Image:
    """The first picture in a file, decoded; raises ValueError that says why it cannot be."""
    if not content:
        raise ValueError("it is empty")
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return _in_8_bits(image, content)
    except Image.UnidentifiedImageError:
        raise ValueError("it is no picture of a known kind, or its beginning is damaged") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(f"it has more than {most:,} pixels; scale it down") from None
    except Exception as error:  # pillow's are of many types
        raise ValueError(str(error) or type(error).__name__) from error


def upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF data say it was held, of which nothing but the orientation is read; else as it is."""
    orientation = _orientation(image.info.get("exif", b""))
    if orientation is None:
        try:
            orientation = image.getexif().get(ORIENTATION)  # where other formats keep it
        except Exception:  # of broken data, of many types
            return image
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def on_white(image: Image.Image) -> Image.Image:
    """The picture in three colours, on white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def middle_square(image: Image.Image) -> Image.Image:
    """The largest square around the middle."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _orientation(exif: bytes) -> int | None:
    """The orientation in EXIF data, whatever else in them is broken; None where it is not among the first entries."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, place)
            if tag == ORIENTATION:
                return value
    except struct.error:
        return None
    return None


def _in_8_bits(image: Image.Image, content: bytes) -> Image.Image:
    """Grey of more bits, its largest possible level white; ValueError for pixels of which nobody says what white is."""
    is_wide = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    if image.mode in ("I", "F") and not is_wide:
        tags: Any = getattr(image, "tag_v2", {})
        signed = tags.get(BITS) == (16,)
        raise ValueError(f"its pixels {'are signed numbers' if signed else 'have 32 bits, and not 8 or 16'}")
    if not is_wide:
        return image
    levels, largest = np.asarray(image).astype(np.uint32), _largest_level(image, content)
    grey = (np.minimum(levels, largest) * 510 + largest) // (2 * largest)  # to the nearest of 0..255
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[levels == transparent] = 255
    with_format = Image.fromarray(grey.astype(np.uint8))
    with_format.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return with_format


def _largest_level(image: Image.Image, content: bytes) -> int:
    """Of grey of more than 8 bits: what pillow gives for the largest number that the file may hold."""
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
        return (1 << tags[BITS][0]) - 1
    if image.format == "JPEG2000":  # which pillow shifts to the left of 16 bits
        bits = (content[content.index(CODESTREAM) + PRECISION_AT] & 0x7F) + 1
        return ((1 << bits) - 1) << (16 - bits)
    return 0xFFFF  # of PNG, and of PGM, which pillow scales to it

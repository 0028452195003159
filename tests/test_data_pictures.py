"""One picture as people have them: damaged data about it, and grey of many bits, with levels known beforehand."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vnca_jax.data import folder, pictures


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# EXIF

HALF = np.repeat(np.array([[0, 0, 0, 0, 255, 255, 255, 255]], np.uint8), 8, axis=0)  # its right half is white
DOWN = HALF.T.tolist()  # a quarter turn clockwise brings it down


def exif(*entries: bytes, order: str = "<", count: int | None = None) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    number = struct.pack(f"{order}H", len(entries) if count is None else count)
    return b"Exif\0\0" + mark + struct.pack(f"{order}I", 8) + number + b"".join(entries) + bytes(4)


def orientation(value: int, order: str = "<") -> bytes:
    return struct.pack(f"{order}HHIHH", 0x0112, 3, 1, value, 0)


BROKEN_MAKE = struct.pack("<HHII", 0x010F, 2, 4000, 1 << 30)  # 4,000 letters that lie beyond the end
BROKEN_KIND = struct.pack("<HHII", 0x0110, 99, 1, 0)
EXIFS = {
    "whole": (exif(orientation(6)), True),
    "big end first": (exif(orientation(6, ">"), order=">"), True),
    "a text outside, before": (exif(BROKEN_MAKE, orientation(6)), True),
    "a type that is none": (exif(BROKEN_KIND, orientation(6)), True),
    "a text outside, behind": (exif(orientation(6), BROKEN_MAKE), True),
    "more entries than there are": (exif(orientation(6), count=500), True),
    "a turn that is none": (exif(orientation(77)), False),
    "no more than a mark": (b"Exif\0\0", False),
    "noise": (b"Exif\0\0" + bytes(range(200)), False),
    "a place far outside": (b"Exif\0\0II*\0\xff\xff\xff\x7f", False),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # pillow's, of what is broken, which `load` keeps to itself
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", EXIFS)
def test_of_exif_nothing_but_the_orientation_matters(name, kind, tmp_path):
    content, turned = EXIFS[name]
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}, "PNG": {}}[kind]
    whole = encoded(Image.fromarray(HALF).convert("RGB"), kind, exif=content, **options)
    path = write(tmp_path / f"phone.{kind.lower()}", whole)
    grey = folder.rescaled(path, 8)[..., 1].astype(int)
    assert np.abs(grey - np.array(DOWN if turned else HALF)).max() <= (2 if kind == "JPEG" else 0)


# Grey of more than 8 bits: largest levels, and a third of them, which is 85 of 255


def tiff(bits: int, levels: np.ndarray, *, order: str = "<", photometric: int = 1, sample_format: int = 1) -> bytes:
    """An uncompressed TIFF file of one strip, written byte by byte."""
    if bits == 12:  # two pixels in three bytes
        pairs = levels.reshape(-1, 2).astype(int)
        strip = b"".join(int(a << 12 | b).to_bytes(3, "big") for a, b in pairs)
    else:
        strip = levels.astype(f"{order}u{bits // 8}").tobytes()
    height, width = levels.shape
    entries = ((256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8 + 2 + 9 * 12 + 4))
    entries += ((277, 1), (278, height), (279, len(strip)))
    entries = (*entries, (339, sample_format)) if sample_format != 1 else entries
    offset = 8 + 2 + len(entries) * 12 + 4
    rows = [(tag, offset if tag == 273 else value) for tag, value in entries]
    directory = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in rows)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IH", 8, len(rows)) + directory + bytes(4) + strip


def jpeg_2000(bits: int, levels: np.ndarray) -> bytes:
    """Lossless, of so many bits a pixel: 16 bits of pillow's, declared to be fewer.

    What is kept is a level less half of the range, so that x of 10 bits is kept as x - 512, which is x + 32,256 of 16.
    """
    shifted = (levels.astype(int) + (1 << 15) - (1 << bits - 1)).astype(np.uint16)
    content = bytearray(encoded(Image.fromarray(shifted), "JPEG2000", irreversible=False))
    content[content.index(b"ihdr") + 4 + 10] = bits - 1
    content[content.index(b"\xff\x4f\xff\x51") + 42] = bits - 1
    return bytes(content)


def pgm(largest: int, levels: np.ndarray) -> bytes:
    return b"P5\n%d %d\n%d\n" % (*levels.shape[::-1], largest) + levels.astype(">u2").tobytes()


def plain_pgm(largest: int, levels: np.ndarray) -> bytes:
    return b"P2\n%d %d\n%d\n" % (*levels.shape[::-1], largest) + b" ".join(b"%d" % level for level in levels.ravel())


WIDE = {
    "16 bits.png": (65535, lambda x: encoded(Image.fromarray(x), "PNG")),
    "16 bits.pgm": (65535, lambda x: pgm(65535, x)),
    "10 bits.pgm": (1023, lambda x: pgm(1023, x)),
    "plain, 10 bits.pgm": (1023, lambda x: plain_pgm(1023, x)),
    "16 bits.jp2": (65535, lambda x: jpeg_2000(16, x)),
    "12 bits.jp2": (4095, lambda x: jpeg_2000(12, x)),
    "10 bits.jp2": (1023, lambda x: jpeg_2000(10, x)),
    "16 bits.tif": (65535, lambda x: tiff(16, x)),
    "16 bits, big end first.tif": (65535, lambda x: tiff(16, x, order=">")),
    "12 bits.tif": (4095, lambda x: tiff(12, x)),
    "16 bits, white is zero.tif": (65535, lambda x: tiff(16, 65535 - x, photometric=0)),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_grey(name, tmp_path):
    largest, make = WIDE[name]
    levels = np.repeat(np.array([[0, largest // 3, 2 * largest // 3, largest]], np.uint16), 4, axis=0)
    path = write(tmp_path / name, make(levels))
    assert folder.rescaled(path, 4).tolist() == [[[x] * 3 for x in (0, 85, 170, 255)]] * 4
    assert folder.rescaled(path, 4, binary=True)[..., 0].tolist() == [[0, 0, 1, 1]] * 4


def test_wide_grey_that_is_transparent(tmp_path):
    levels = np.repeat(np.array([[0, 0x1234, 0x1235, 0xFFFF]], np.uint16), 4, axis=0)
    path = write(tmp_path / "16.png", encoded(Image.fromarray(levels), "PNG", transparency=0x1234))
    assert folder.rescaled(path, 4)[0, :, 0].tolist() == [0, 255, 18, 255]


# What is none


def test_signed_numbers():
    with pytest.raises(ValueError, match="^its pixels are signed numbers$"):
        pictures.opened(tiff(16, np.ones((4, 4), np.uint16), sample_format=2))


def test_an_empty_file():
    with pytest.raises(ValueError, match="^it is empty$"):
        pictures.opened(b"")

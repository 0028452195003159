"""The IDX format of MNIST's files: two zero bytes, the type, the number of axes, the sizes (big-endian), the values."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vnca_jax import paths
from vnca_jax.errors import InputError

UNSIGNED_BYTE = 0x08
GZIP_MARK = b"\x1f\x8b"


def read_unzipped(path: Path) -> bytes:
    """What a file holds, unzipped if it is gzipped, whatever its name says; InputError where it cannot be read."""
    content = paths.read_bytes(path, "replace it by the official file")
    try:
        return gzip.decompress(content) if content.startswith(GZIP_MARK) else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}): replace it by the official file.") from error


def parse_idx(content: bytes, path: Path) -> UInt8[np.ndarray, "..."]:
    """The array in the unzipped content of the IDX file `path`."""
    if len(content) < 4 or content[:2] != b"\0\0":
        raise InputError(f"{path} is no IDX file (it begins with the bytes {content[:4].hex(' ')}): replace it.")
    if content[2] != UNSIGNED_BYTE:
        raise InputError(f"{path} is an IDX file of type 0x{content[2]:02x}, but only 0x08, unsigned bytes, is read.")
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise InputError(f"{path} ends within the sizes of its {axes} axes: replace it by a complete IDX file.")
    shape = struct.unpack(f">{axes}I", content[4:start])
    expected = start + math.prod(shape)
    if len(content) != expected:
        sizes = "x".join(map(str, shape))
        raise InputError(
            f"{path} has {len(content):,} bytes, but an IDX file of {sizes} bytes has {expected:,}: replace it."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)

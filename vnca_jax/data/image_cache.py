"""Colour images of one size in a memory-mapped .npy file, made once, block by block, so that a kill loses one block."""

import contextlib
import io
import logging
import math
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from vnca_jax.errors import InputError

logger = logging.getLogger(__name__)

BLOCK_IMAGES = 1024
FREE_BYTES = 1 << 20  # that are left on the disk for the marks

ReadImage = Callable[[int], UInt8[np.ndarray, "h w c"]]
Shape = tuple[int, int, int, int]


def read_or_make(path: Path, shape: Shape, read_image: ReadImage, *, name: str) -> UInt8[np.ndarray, "n h w c"]:
    """The images (n, h, w, c) at `path`, mapped and not read; made from `read_image(i)`, called on threads, if missing.

    They are written to a hidden file beside `path`, which gets its name when all are there. After each block of
    BLOCK_IMAGES a mark says how many are safely on the disk, and later calls go on from there. Of several processes
    one works and the others wait for it. Raises InputError if the disk is full or the folder cannot be written.
    """
    if (images := _open(path, shape)) is not None:
        return images
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        with open(part, "r+b") as file:
            _wait_for_others(file)
            if (images := _open(path, shape)) is None:
                _make(file, _Mark(part), shape, read_image, name)
                os.replace(part, path)
        part.unlink(missing_ok=True)
        _Mark(part).remove()
        images = images if images is not None else _open(path, shape)
    except OSError as error:
        raise InputError(
            f"The {shape[0]:,} images of {name} could not be written to {path} ({error.strerror or error}); finished "
            "ones are kept: make room or name another folder with $VNCA_CACHE_DIR, and repeat the command."
        ) from error
    if images is None:
        raise InputError(f"{path} was changed while it was being made: repeat the command.")
    return images


def _open(path: Path, shape: Shape) -> np.memmap | None:
    """The whole file mapped for reading; None where there is none, or another one than would be made."""
    try:
        images = np.lib.format.open_memmap(path, mode="r")
        if images.shape == shape and images.dtype == np.uint8 and path.stat().st_size == _file_size(shape):
            return images
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        pass
    logger.info("The cache %s is damaged and will be made again.", path)
    return None


def _make(file: BinaryIO, mark: "_Mark", shape: Shape, read_image: ReadImage, name: str) -> None:
    """Fill `file` from the first image that is not yet marked as finished.

    Written through the file, not a map: where the disk is full a write raises, while a map kills the process.
    """
    header, image_bytes, count = _header(shape), math.prod(shape[1:]), shape[0]
    size = file.seek(0, os.SEEK_END)
    finished = min(mark.read(), (size - len(header)) // image_bytes, count)
    file.seek(0)
    if finished < 1 or file.read(len(header)) != header:
        finished = 0
        mark.remove()
        file.truncate(0)
    _check_space(mark.folder, (count - finished) * image_bytes)
    file.seek(0)
    file.write(header)
    with (
        ThreadPoolExecutor(os.cpu_count()) as threads,
        tqdm(total=count, initial=finished, desc=f"{name} {shape[1]}x{shape[2]}", unit=" images") as progress,
    ):
        for start in range(finished, count, BLOCK_IMAGES):
            places = range(start, min(start + BLOCK_IMAGES, count))
            block = np.stack(list(threads.map(read_image, places)))
            file.seek(len(header) + start * image_bytes)
            file.write(block.tobytes())
            file.flush()
            os.fsync(file.fileno())
            mark.write(places.stop)
            progress.update(len(places))
    file.truncate(_file_size(shape))


def _check_space(folder: Path, needed: int) -> None:
    """OSError now instead of in some minutes, where the disk is too small."""
    free = shutil.disk_usage(folder).free
    if free < needed + FREE_BYTES:
        raise OSError(f"{needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free")


class _Mark:
    """How many images of an unfinished file are safely on the disk; a small file beside it."""

    def __init__(self, part: Path):
        self.folder = part.parent
        self.path = part.with_suffix(".finished")

    def read(self) -> int:
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return 0

    def write(self, finished: int) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(str(finished))
        os.replace(new, self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _header(shape: Shape) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _file_size(shape: Shape) -> int:
    return len(_header(shape)) + math.prod(shape)


def _wait_for_others(file: BinaryIO) -> None:
    """Holds `file` for this process until it is closed; does nothing where there are no such locks."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl  # not on Windows

        fcntl.flock(file, fcntl.LOCK_EX)

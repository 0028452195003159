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

from vnca_jax import parallel, paths, writing
from vnca_jax.errors import InputError

logger = logging.getLogger(__name__)

BLOCK_IMAGES = 1024
FREE_BYTES = 1 << 20  # that are left on the disk for the marks
IDENTITY_BYTES = 32
NAMED = 10  # images that cannot be used, at most

ReadImage = Callable[[int], UInt8[np.ndarray, "h w c"]]
Shape = tuple[int, int, int, int]


def read_or_make(
    path: Path, shape: Shape, read_image: ReadImage, *, identities: list[bytes], name: str
) -> UInt8[np.ndarray, "n h w c"]:
    """The images (n, h, w, c) at `path`, mapped and not read; made from `read_image(i)`, called on threads, if missing.

    They are written to a hidden file beside `path`, which gets its name when all are there. After each block of
    BLOCK_IMAGES a mark says how many are safely on the disk, and later calls resume from there. Of several processes
    one works and the others wait for it. Raises InputError if the disk is full or the folder cannot be written.

    Where `read_image` raises InputError the others are read all the same, and one InputError names all that cannot be
    used. What has been read is set aside until `read_or_make` is called for the same image, by `identities[i]` (32
    bytes, not all zero) and the part of the name of `path` before its last _.
    """
    if (images := _open(path, shape)) is not None:
        return images
    part, aside = path.with_name(f".{path.name}.part"), _SetAside(path)
    unusable: dict[int, InputError] = {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        with open(part, "r+b") as file:
            _wait_for_others(file)
            if (images := _open(path, shape)) is None:
                unusable = _make(file, _Mark(part), shape, aside.before(read_image, identities, shape), name)
                if 0 < len(unusable) < shape[0]:
                    aside.keep(file, part, [b"" if i in unusable else one for i, one in enumerate(identities)])
                elif not unusable:
                    os.replace(part, path)
                    aside.remove()
        part.unlink(missing_ok=True)
        _Mark(part).remove()
        if images is None and unusable:
            raise _all_at_once(unusable, shape[0], name)
        images = images if images is not None else _open(path, shape)
    except OSError as error:
        what = "make room or " if error.errno in (None, *paths.FULL) else ""
        what = "allow it or " if error.errno in paths.CLOSED else what
        raise InputError(
            f"The {shape[0]:,} images of {name} could not be written to {path} ({error.strerror or error}); finished "
            f"ones are kept: {what}name another folder with $VNCA_CACHE_DIR, and repeat the command."
        ) from error
    if images is None:
        raise InputError(f"{path} was changed while it was being made: repeat the command.")
    return images


def _all_at_once(unusable: dict[int, InputError], count: int, name: str) -> InputError:
    """What was wrong with all of them, in one error."""
    sentences = sorted(map(str, unusable.values()))
    if len(sentences) == 1:
        return InputError(sentences[0])
    first = f"; the first {NAMED} of them" if len(sentences) > NAMED else ""
    listed = "".join(f"\n  {sentence}" for sentence in sentences[:NAMED])
    return InputError(f"{len(sentences):,} of the {count:,} images of {name} cannot be used{first}:{listed}")


class _SetAside:
    """The images that have been read beside others that could not be: files of images, and their identities behind."""

    def __init__(self, path: Path):
        self._path = path.with_name(f".{path.stem}.aside")
        self._pattern = f".{path.stem.rpartition('_')[0]}_*.aside"
        self._used: set[Path] = set()

    def before(self, read_image: ReadImage, identities: list[bytes], shape: Shape) -> ReadImage:
        """`read_image` of those images only that have not been set aside."""
        wanted, known = set(identities), {}
        for file in self._path.parent.glob(self._pattern):
            images, kept = _read_aside(file, shape)
            found = {one: (images, i) for i, one in enumerate(kept) if one in wanted}
            known |= found
            self._used |= {file} if found else set()

        def read(index: int) -> UInt8[np.ndarray, "h w c"]:
            images, place = known.get(identities[index], (None, 0))
            return read_image(index) if images is None else np.array(images[place])

        return read

    def keep(self, file: BinaryIO, part: Path, identities: list[bytes]) -> None:
        """Makes the finished `file`, which lies at `part`, the only one that is set aside of what has been used."""
        file.seek(0, os.SEEK_END)
        file.write(b"".join(one.ljust(IDENTITY_BYTES, b"\0") for one in identities))
        file.flush()
        os.replace(part, self._path)
        self._used.discard(self._path)
        self.remove()

    def remove(self) -> None:
        """Removes what has been taken over."""
        for file in self._used:
            file.unlink(missing_ok=True)


def _read_aside(path: Path, shape: Shape) -> tuple[np.ndarray | None, list[bytes]]:
    """The images and their identities; none where the file is damaged or holds others."""
    try:
        images = np.lib.format.open_memmap(path, mode="r")
        size = _file_size((len(images), *shape[1:]))
        with open(path, "rb") as file:
            file.seek(size)
            tail = file.read()
    except (OSError, ValueError):
        return None, []
    if images.dtype != np.uint8 or images.shape[1:] != shape[1:] or len(tail) != IDENTITY_BYTES * len(images):
        return None, []
    return images, [tail[i : i + IDENTITY_BYTES] for i in range(0, len(tail), IDENTITY_BYTES)]


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


def _make(file: BinaryIO, mark: "_Mark", shape: Shape, read_image: ReadImage, name: str) -> dict[int, InputError]:
    """Fill `file` from the first image that is not yet marked as finished; what is wrong with those it leaves out.

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
    unusable: dict[int, InputError] = {}

    def read(index: int) -> UInt8[np.ndarray, "h w c"]:
        try:
            return read_image(index)
        except InputError as error:
            unusable[index] = error
            return np.zeros(shape[1:], np.uint8)

    with (
        ThreadPoolExecutor(parallel.allowed_cores()) as threads,
        tqdm(total=count, initial=finished, desc=f"{name} {shape[1]}x{shape[2]}", unit=" images") as progress,
    ):
        for start in range(finished, count, BLOCK_IMAGES):
            places = range(start, min(start + BLOCK_IMAGES, count))
            block = np.stack(list(threads.map(read, places)))
            file.seek(len(header) + start * image_bytes)
            file.write(block.tobytes())
            file.flush()
            os.fsync(file.fileno())
            if not unusable:
                mark.write(places.stop)
            progress.update(len(places))
    file.truncate(_file_size(shape))
    return unusable


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
        with writing.beside(self.path) as new:
            new.write_text(str(finished))

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

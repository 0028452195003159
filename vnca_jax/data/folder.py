"""Your own folder of pictures: `folder` in colours, `folder_binary` as black and white, in any size of SIZES.

The middle square of every picture is rescaled with pillow's antialiased bilinear filter, as CelebA's is; where a
picture is transparent it shows white. Which pictures there are, and which of them are for testing: `folder_files`.
"""

import hashlib
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from vnca_jax import parallel, paths
from vnca_jax.data import folder_files, folders, image_cache, pictures
from vnca_jax.data.dataset import Dataset, check_size
from vnca_jax.data.folder_files import Found
from vnca_jax.errors import InputError

NAME = "folder"
BINARY_NAME = "folder_binary"
SIZES = (64, 4, 8, 16, 32, 128, 256, 512)  # the default first
THRESHOLD = 128  # of the grey levels 0..255
TEST_BELOW = (2**256 // 6).to_bytes(32)  # of the SHA-256 of a file
MIN_A_SIDE = 2  # pictures to train on, and to test on, which a standard error needs
CACHE_VERSION = "vnca_jax folder 1"


class Picture(NamedTuple):
    """A file, and the SHA-256 of its contents."""

    digest: bytes
    path: Path


def load(
    *, binary: bool = False, size: int = SIZES[0], data_dir: Path | None = None, cache_dir: Path | None = None
) -> Dataset:
    """The pictures in `data_dir` and its sub-folders, (size, size, 3) levels of 255; says how many on standard error.

    If `binary` they are (size, size, 1), and 1 where the grey level is at least 128 of 255. The dataset is called after
    the folder, `folder:cats`. All files are read each time to notice what has changed, and rescaled once, into the
    cache folder. Raises InputError for another size, and for a folder or pictures that are missing or unusable.
    """
    kind = BINARY_NAME if binary else NAME
    check_size(kind, size, SIZES)
    folder = _existing(kind, data_dir)
    found = folder_files.find(folder)
    train, test = split(folder, found)
    chosen = [*train, *test]
    name = f"{kind}:{os.fsencode(folder.resolve().name).decode(errors='backslashreplace')}"
    lines = [CACHE_VERSION, str(len(train)), *(picture.digest.hex() for picture in chosen)]
    key = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    path = folders.cache_folder(cache_dir) / f"{kind}_{size}_{key}.npy"

    def read_image(index: int) -> UInt8[np.ndarray, "h w c"]:
        return rescaled(chosen[index].path, size, binary=binary)

    shape = (len(chosen), size, size, 1 if binary else 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pillow's, of what is odd in a file but does no harm to its pixels
        images = image_cache.read_or_make(
            path, shape, read_image, identities=[picture.digest for picture in chosen], name=name
        )
    copies = len({picture.digest for picture in train} & {picture.digest for picture in test})
    warning = f", {copies:,} of which are among the training pictures too" if copies else ""
    print(f"{name}: {len(chosen):,} pictures, {len(test):,} of them test pictures{warning}.", file=sys.stderr)
    for sentence in found.remarks:
        print(f"{name}: {sentence}", file=sys.stderr)
    return Dataset(name, train=images[: len(train)], test=images[len(train) :])


def registered_name(name: str) -> str:
    """The name without the folder's, which `load` puts behind it: `folder` for `folder:cats`; others as they are."""
    first = name.partition(":")[0]
    return first if first in (NAME, BINARY_NAME) else name


def rescaled(path: Path, size: int, *, binary: bool = False) -> UInt8[np.ndarray, "h w c"]:
    """The middle square of the picture, upright, in `size` x `size` pixels; InputError, naming it, if it is unusable.

    Of a moving picture it is the first one. Grey is 0.299 red + 0.587 green + 0.114 blue, binarized after rescaling.
    """
    content = paths.read_bytes(path, "replace or remove it")
    try:
        square = pictures.on_white(pictures.middle_square(pictures.upright(pictures.opened(content))))
    except ValueError as error:
        raise InputError(f"{path} cannot be read as a picture ({error}): replace or remove it.") from error
    if binary:
        grey = np.asarray(square.convert("L").resize((size, size), Image.Resampling.BILINEAR))
        return (grey[..., None] >= THRESHOLD).astype(np.uint8)
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


# Which pictures are for testing


def split(folder: Path, found: Found) -> tuple[list[Picture], list[Picture]]:
    """The training and the test pictures, either in ascending order of their SHA-256.

    Raises InputError where there are too few, naming how many are needed.
    """
    if found.test is not None:
        train, test = _read_digests(found.train), _read_digests(found.test)
        for side, chosen in ((found.train_folder, train), (found.test_folder, test)):
            if len({picture.digest for picture in chosen}) < MIN_A_SIDE:
                raise InputError(_too_few(folder / side, chosen, MIN_A_SIDE, found.others))
        return train, test
    chosen = _read_digests(found.train)
    digests = {picture.digest for picture in chosen}
    if len(digests) < 2 * MIN_A_SIDE:
        raise InputError(_too_few(folder, chosen, 2 * MIN_A_SIDE, found.others))
    for_testing = test_digests(digests)
    return (
        [picture for picture in chosen if picture.digest not in for_testing],
        [picture for picture in chosen if picture.digest in for_testing],
    )


def test_digests(digests: set[bytes]) -> set[bytes]:
    """Those below TEST_BELOW, a sixth of all on average; the lowest two if these are fewer, at most the lower half."""
    below = sum(digest < TEST_BELOW for digest in digests)
    return set(sorted(digests)[: min(max(below, MIN_A_SIDE), len(digests) // 2)])


def _existing(name: str, data_dir: Path | None) -> Path:
    if data_dir is None:
        raise InputError(f"The dataset {name} reads your own folder of pictures: name it with --data-dir.")
    folder = paths.expanded(data_dir)
    if not paths.is_folder(folder):
        what = "is no folder" if paths.exists(folder) else "does not exist"
        raise InputError(f"--data-dir is {data_dir}, which {what}: name the folder that holds your pictures.")
    return folder


def _read_digests(files: list[Path]) -> list[Picture]:
    def read(path: Path) -> Picture:
        return Picture(hashlib.sha256(paths.read_bytes(path, "replace or remove it")).digest(), path)

    with ThreadPoolExecutor(parallel.allowed_cores()) as threads:
        return sorted(tqdm(threads.map(read, files), total=len(files), desc="reading", unit=" pictures", delay=2))


def _too_few(folder: Path, chosen: list[Picture], needed: int, others: str) -> str:
    different = len({picture.digest for picture in chosen})
    if not chosen:
        beside = f", but {others}" if others else ""
        return (
            f"{folder} holds no pictures, of which at least {needed} are needed{beside}: name a folder with PNG, JPEG, "
            "WebP, BMP, GIF or TIFF files in it or its sub-folders."
        )
    counted = f"{different} different picture{'s' if different != 1 else ''}"
    return f"{folder} holds {counted}, but at least {needed} are needed: add some."

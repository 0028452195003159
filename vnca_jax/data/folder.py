"""One's own folder of pictures: `folder` in colours, `folder_binary` as black and white, in any size of SIZES.

The middle square of every picture is rescaled with pillow's antialiased bilinear filter, as CelebA's is; where a
picture is transparent it shows white. A picture is a test picture where the SHA-256 of its file lies in the lowest
sixth, so that names play no part and copies lie on one side. Sub-folders `train` and `test` split it otherwise.
"""

import hashlib
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from tqdm import tqdm

from vnca_jax.data import folders, image_cache
from vnca_jax.data.dataset import Dataset, check_size
from vnca_jax.errors import InputError

NAME = "folder"
BINARY_NAME = "folder_binary"
SIZES = (64, 4, 8, 16, 32, 128, 256, 512)  # the default first
KINDS = "png apng jpg jpeg jpe jfif webp bmp dib gif tif tiff pbm pgm ppm pnm tga avif jp2 qoi ico pcx"
SUFFIXES = frozenset(f".{kind}" for kind in KINDS.split())
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
    cache folder. Raises InputError for another size, and for a folder or a picture that is missing or unusable.
    """
    name = BINARY_NAME if binary else NAME
    check_size(name, size, SIZES)
    folder = _existing(name, data_dir)
    train, test = find(folder)
    pictures = [*train, *test]
    name = f"{name}:{folder.resolve().name}"
    lines = [CACHE_VERSION, str(len(train)), *(picture.digest.hex() for picture in pictures)]
    key = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    path = folders.cache_folder(cache_dir) / f"{BINARY_NAME if binary else NAME}_{size}_{key}.npy"

    def read_image(index: int) -> UInt8[np.ndarray, "h w c"]:
        return rescaled(pictures[index].path, size, binary=binary)

    shape = (len(pictures), size, size, 1 if binary else 3)
    images = image_cache.read_or_make(path, shape, read_image, name=name)
    copies = len({picture.digest for picture in train} & {picture.digest for picture in test})
    warning = f", {copies:,} of which are among the training pictures too" if copies else ""
    print(f"{name}: {len(pictures):,} pictures, {len(test):,} of them test pictures{warning}.", file=sys.stderr)
    return Dataset(name, train=images[: len(train)], test=images[len(train) :])


def registered_name(name: str) -> str:
    """The name without the folder's, which `load` puts behind it: `folder` for `folder:cats`; others as they are."""
    first = name.partition(":")[0]
    return first if first in (NAME, BINARY_NAME) else name


# From a file to pixels


def rescaled(path: Path, size: int, *, binary: bool = False) -> UInt8[np.ndarray, "h w c"]:
    """The middle square of the picture, upright, in `size` x `size` pixels; InputError, naming it, if it is unusable.

    Of a moving picture it is the first one. Grey is 0.299 red + 0.587 green + 0.114 blue, binarized after rescaling.
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            square = _opaque(_middle_square(ImageOps.exif_transpose(image)))
    except Exception as error:  # pillow's are of many types
        raise InputError(f"{path} cannot be read as a picture ({error}): replace or remove it.") from error
    if binary:
        grey = np.asarray(square.convert("L").resize((size, size), Image.Resampling.BILINEAR))
        return (grey[..., None] >= THRESHOLD).astype(np.uint8)
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


def _middle_square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _opaque(image: Image.Image) -> Image.Image:
    """Three colours of 8 bits, on white; ValueError for pixels of which nobody says what white is."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, and not 8 or 16")
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


# Which pictures there are, and which of them are for testing


def find(folder: Path) -> tuple[list[Picture], list[Picture]]:
    """The training and the test pictures, either in ascending order of their SHA-256.

    Raises InputError where there are too few, naming how many are needed.
    """
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        train, test = (_read_digests(_files_in(folder / side)) for side in ("train", "test"))
        for side, pictures in (("train", train), ("test", test)):
            if len({picture.digest for picture in pictures}) < MIN_A_SIDE:
                raise InputError(_too_few(folder / side, pictures, MIN_A_SIDE))
        return train, test
    pictures = _read_digests(_files_in(folder))
    digests = {picture.digest for picture in pictures}
    if len(digests) < 2 * MIN_A_SIDE:
        raise InputError(_too_few(folder, pictures, 2 * MIN_A_SIDE))
    chosen = test_digests(digests)
    return (
        [picture for picture in pictures if picture.digest not in chosen],
        [picture for picture in pictures if picture.digest in chosen],
    )


def test_digests(digests: set[bytes]) -> set[bytes]:
    """Those below TEST_BELOW, a sixth of all on average; the lowest two if these are fewer, at most the lower half."""
    below = sum(digest < TEST_BELOW for digest in digests)
    return set(sorted(digests)[: min(max(below, MIN_A_SIDE), len(digests) // 2)])


def _existing(name: str, data_dir: Path | None) -> Path:
    if data_dir is None:
        raise InputError(f"The dataset {name} is a folder of your own: name it with --data-dir.")
    folder = data_dir.expanduser()
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"--data-dir is {data_dir}, which {what}: name the folder that holds your pictures.")
    return folder


def _files_in(folder: Path) -> list[Path]:
    """The files in `folder` and its sub-folders that are pictures by their names, hidden ones left out."""
    found, seen = [], set()
    for inside, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(inside)
        if real in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [
            Path(inside, name) for name in names if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return found


def _read_digests(paths: list[Path]) -> list[Picture]:
    def read(path: Path) -> Picture:
        try:
            return Picture(hashlib.sha256(path.read_bytes()).digest(), path)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): make it readable or remove it.") from error

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return sorted(tqdm(threads.map(read, paths), total=len(paths), desc="reading", unit=" pictures", delay=2))


def _too_few(folder: Path, pictures: list[Picture], needed: int) -> str:
    different = len({picture.digest for picture in pictures})
    if not pictures:
        return (
            f"{folder} holds no pictures, of which at least {needed} are needed: name a folder with PNG, JPEG, WebP, "
            "BMP, GIF or TIFF files in it or its sub-folders."
        )
    counted = f"{different} different picture{'s' if different != 1 else ''}"
    return f"{folder} holds {counted}, but at least {needed} are needed: add some."

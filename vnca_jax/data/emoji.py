"""Noto Color Emoji on white, rescaled to 64x64 or 32x32 pixels, from the font file or the repository's PNG files.

The paper has 2,656 emojis, 531 of them (20 %) for testing, and does not say which. Here it is all that the font draws,
skin tones included, less what is no emoji (`emoji_names.is_emoji`), is empty, or looks exactly like another one. All
variants of one emoji, by skin tone, gender or direction, are on one side of the split, so that none of the test images
has a near copy among the training images. A tenth of the training images' names are those of the validation images.
"""

import fnmatch
import hashlib
import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vnca_jax import parallel, paths
from vnca_jax.data import cache, emoji_font, emoji_names, folders, pictures
from vnca_jax.data.dataset import Dataset, check_size
from vnca_jax.data.emoji_names import CodePoints
from vnca_jax.errors import InputError

NAME = "emoji"
SIZES = (64, 32)
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.08
PAPER_COUNT, PAPER_TEST_COUNT = 2656, 531
FONT_FILE = "NotoColorEmoji.ttf"
SYSTEM_FONTS = Path("/usr/share/fonts")
WHAT_TO_DO = (
    f"install {FONT_FILE} (Debian's package fonts-noto-color-emoji), or put it, or the PNG files of the Noto emoji "
    "repository (emoji_u1f600.png and so on), into a folder or its sub-folder emoji and name the folder with "
    "--data-dir or $VNCA_DATA_DIR, or attach them as a dataset under /kaggle/input."
)


def load(*, size: int = 64, data_dir: Path | None = None, cache_dir: Path | None = None) -> Dataset:
    """Emojis of `size` x `size` x 3 pixels, about a fifth of them test images; says how many on standard error.

    Looks for the font, then for PNG files, in `data_dir`, or without one in $VNCA_DATA_DIR, under /kaggle/input and
    among the system's fonts. Raises InputError for another size, where a file is wrong, and where none is found.
    """
    check_size(NAME, size, SIZES)
    source = _find(data_dir)
    digest = hashlib.sha256()
    for path in source:
        content = paths.read_bytes(path)
        digest.update(os.fsencode(f"{path.name} {len(content)}\n") + content)
    cache_path = folders.cache_folder(cache_dir) / f"{NAME}_{size}_{digest.hexdigest()[:16]}.images"
    if (dataset := _read_cache(cache_path, size, digest.digest())) is None:
        pictures = emoji_font.pictures(source[0]) if source[0].suffix == ".ttf" else _read_pngs(source)
        dataset = make_dataset(pictures, size, str(source[0] if len(source) == 1 else source[0].parent))
        _write_cache(cache_path, dataset, digest.digest())
    num_train, num_test = len(dataset.train), len(dataset.test)
    print(
        f"{NAME}: {num_train + num_test:,} images, {num_test:,} of them test images (the paper: {PAPER_COUNT:,} and "
        f"{PAPER_TEST_COUNT:,}).",
        file=sys.stderr,
    )
    return dataset


def make_dataset(pictures: list[tuple[CodePoints, bytes]], size: int, where: str) -> Dataset:
    """The images of those PNG files that are emojis, in the order of their base names, split by these.

    The validation images are the last of the training images. Raises InputError where a file is broken, and where one
    side of the split would be empty.
    """
    chosen = sorted(
        (emoji_names.base_name(codes), codes, content) for codes, content in pictures if emoji_names.is_emoji(codes)
    )
    with ThreadPoolExecutor(parallel.allowed_cores()) as threads:
        images = threads.map(lambda picture: _drawn(picture[2], size, picture[1], where), chosen)
        sides: dict[str, list] = {"train": [], "validation": [], "test": []}
        seen = set()
        for (base, _, _), image in zip(chosen, images, strict=True):
            if image is not None and image.tobytes() not in seen:
                seen.add(image.tobytes())
                sides[side(base)].append(image)
    train = sides["train"] + sides["validation"]
    if not train or not sides["test"]:
        raise InputError(f"{where} holds {len(seen)} emojis, too few to split into training and test images.")
    return Dataset(NAME, np.stack(train), np.stack(sides["test"]), num_validation=len(sides["validation"]))


def side(base_name: str) -> Literal["test", "validation", "train"]:
    """Where the emojis of this base name are: in the test set if the SHA-256 of the name is in its lowest fifth, among
    the validation images if it is in its highest 8 %, a tenth of the rest. (The 8 % above the lowest fifth have two
    names with 104 variants each, couples with a heart.)
    """
    place = int.from_bytes(hashlib.sha256(base_name.encode()).digest()) / 2**256
    return "test" if place < TEST_SHARE else "validation" if place >= 1 - VALIDATION_SHARE else "train"


def on_white(content: bytes, size: int) -> UInt8[np.ndarray, "h w 3"] | None:
    """The central square of a PNG file, composed on white, in `size` x `size` pixels; None if nothing is drawn.

    The font's bitmaps are 136 wide and 128 high with four empty columns on either side. Pillow's antialiased bilinear
    filter.
    """
    image = pictures.opened(content).convert("RGBA")
    if not image.getchannel("A").getbbox():
        return None
    square = pictures.on_white(pictures.middle_square(image))
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


def _drawn(content: bytes, size: int, codes: CodePoints, where: str) -> UInt8[np.ndarray, "h w 3"] | None:
    try:
        return on_white(content, size)
    except Exception as error:  # pillow's are of many types
        name = "_".join(f"{code:x}" for code in codes)
        raise InputError(f"The picture of emoji_u{name} in {where} cannot be read ({error}): replace it.") from error


# Where the files are


def _find(data_dir: Path | None) -> list[Path]:
    """The font, or the PNG files in ascending order."""
    if data_dir is not None:
        files = _files_in(paths.expanded(data_dir))
        if not files:
            raise InputError(f"The data folder {data_dir} holds no emojis: {WHAT_TO_DO}")
        return files
    for folder in (*folders.named_folders(), *folders.kaggle_folders()):
        if files := _files_in(folder):
            return files
    fonts = sorted(SYSTEM_FONTS.rglob(FONT_FILE))
    if not fonts:
        raise InputError(f"{NAME} was not found: {WHAT_TO_DO}")
    return fonts[:1]


def _files_in(folder: Path) -> list[Path]:
    for inside in (folder, folder / NAME):
        if not paths.is_folder(inside):
            continue
        if paths.is_file(inside / FONT_FILE):
            return [inside / FONT_FILE]
        names = [name for name in paths.names_in(inside) if fnmatch.fnmatchcase(name, "emoji_u*.png")]
        if files := [inside / name for name in names if emoji_names.from_file_name(inside / name)]:
            return files
    return []


def _read_pngs(files: list[Path]) -> list[tuple[CodePoints, bytes]]:
    return [(codes, paths.read_bytes(path)) for path in files if (codes := emoji_names.from_file_name(path))]


# The cache: the numbers of training images, of validation images among them, and of test images, their pixels

CACHE_MARK = b"vnca_jax emoji 2\n"
CACHE_COUNTS = struct.Struct("<3I")


def _read_cache(path: Path, size: int, digest: bytes) -> Dataset | None:
    content = cache.read(path, CACHE_MARK + digest)
    if content is None:
        return None
    num_train, num_validation, _ = CACHE_COUNTS.unpack_from(content)
    images = np.frombuffer(content, np.uint8, offset=CACHE_COUNTS.size).reshape(-1, size, size, 3)
    return Dataset(NAME, images[:num_train], images[num_train:], num_validation=num_validation)


def _write_cache(path: Path, dataset: Dataset, digest: bytes) -> None:
    """Keep the dataset for the next time; a folder that cannot be written leaves the load without a cache."""
    counts = CACHE_COUNTS.pack(len(dataset.train), dataset.num_validation, len(dataset.test))
    cache.write(path, CACHE_MARK + digest, counts + dataset.train.tobytes() + dataset.test.tobytes())

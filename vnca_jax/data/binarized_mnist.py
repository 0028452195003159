"""The static binarization of MNIST (Larochelle & Murray, 2011), the dataset of the paper's first experiments.

Official format: one text file a split, one image a line, 784 values 0 or 1 separated by single spaces. The 50,000
training and the 10,000 validation images, in this order, are the training images here; there are no labels.
"""

import codecs
import hashlib
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vnca_jax import paths
from vnca_jax.data import cache, folders, idx, tfds_copy
from vnca_jax.data.dataset import Dataset
from vnca_jax.data.download import download as download_file
from vnca_jax.errors import InputError

NAME = "binarized_mnist"
IMAGE_SHAPE = (28, 28, 1)
NUM_PIXELS = 28 * 28
NUM_VALIDATION = 10_000
BASE_URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist"

# SHA-256 of each official text file.
TEXT_SHA256 = {
    "train": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "valid": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "test": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}
# SHA-256 of the bit-packed images of each split in ascending order of their bytes: the same for a shuffled copy.
SORTED_ROWS_SHA256 = {
    "train": "aae6de292e6b68d898acf52062a1ac62907fc7ab417c59582d6523a1da0f9a61",
    "valid": "d10b4edf2e0765693846b51a5895f81f69fa37b6459b7f665bfa9c8cc9723622",
    "test": "87ff96664646cc41575aeb3ae4fbbabc1475ca3d42be4659d7a829d9f22c845a",
}
TFDS_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
WHAT_TO_DO = (
    f"put {', '.join(f'{NAME}_{split}.amat' for split in TEXT_SHA256)} (plain or .gz) into one folder and name it with "
    "--data-dir or $VNCA_DATA_DIR, or attach them as a dataset under /kaggle/input."
)


def load(*, data_dir: Path | None = None, cache_dir: Path | None = None, download: bool = True) -> Dataset:
    """60,000 training and 10,000 test images of 28x28x1 pixels, each 0 or 1.

    Looks for the official files in `data_dir`, in $VNCA_DATA_DIR and under /kaggle/input, then for a copy that
    tensorflow-datasets has prepared (the same images in another order), then downloads. What was once verified is read
    from the cache folder from then on. Raises InputError where a file is wrong, `data_dir` lacks one, or none is found.
    """
    cache_folder = folders.cache_folder(cache_dir)
    official_cache, tfds_cache = cache_folder / f"{NAME}_official.bits", cache_folder / f"{NAME}_tfds.bits"
    files = None if data_dir is None else _all_files(data_dir)
    if (dataset := _read_cache(official_cache)) is not None:
        return dataset
    files = files or _search(cache_folder)
    if files is None and (dataset := _read_cache(tfds_cache)) is not None:
        return dataset
    if files is None and (dataset := _read_tfds()) is not None:
        _write_cache(tfds_cache, dataset)
        return dataset
    dataset = _read_files(files) if files else _read_downloaded(cache_folder, download)
    _write_cache(official_cache, dataset)
    return dataset


# The official files


def parse_amat(text: bytes, num_pixels: int) -> UInt8[np.ndarray, "n pixels"]:
    """The images of an .amat text; InputError unless every line is `num_pixels` values 0 or 1 and single spaces."""
    raw = np.frombuffer(text, np.uint8)
    if raw.size and raw.size % (2 * num_pixels) == 0:
        lines = raw.reshape(-1, num_pixels, 2)
        pixels, separators = lines[..., 0] - np.uint8(ord("0")), lines[..., 1]
        if pixels.max() <= 1 and np.all(separators[:, :-1] == ord(" ")) and np.all(separators[:, -1] == ord("\n")):
            return pixels
    raise InputError(f"An .amat text must be lines of {num_pixels} values 0 or 1 with single spaces between them.")


def _find_files(folder: Path) -> dict[str, Path]:
    """The official files that lie in `folder` or in its sub-folder of the dataset's name, by split."""
    files = {}
    for split in TEXT_SHA256:
        name = f"{NAME}_{split}.amat"
        for path in (folder / name, folder / f"{name}.gz", folder / NAME / name, folder / NAME / f"{name}.gz"):
            if split not in files and paths.is_file(path):
                files[split] = path
    return files


def _all_files(data_dir: Path) -> dict[str, Path]:
    files = _find_files(paths.expanded(data_dir))
    missing = [f"{NAME}_{split}.amat" for split in TEXT_SHA256 if split not in files]
    if missing:
        raise InputError(f"The data folder {data_dir} lacks {', '.join(missing)}: {WHAT_TO_DO}")
    return files


def _search(cache_folder: Path) -> dict[str, Path] | None:
    """The official files in the first folder that has all three, among those that nobody named on the command line."""
    kept = [cache_folder] if paths.allows(cache_folder, os.R_OK | os.X_OK) else []
    for folder in (*folders.named_folders(), *folders.kaggle_folders(), *kept):
        files = _find_files(folder)
        if len(files) == len(TEXT_SHA256):
            return files
    return None


def _read_files(files: dict[str, Path]) -> Dataset:
    train, valid, test = (parse_amat(_read_text(files[split], split), NUM_PIXELS) for split in TEXT_SHA256)
    return _dataset(np.concatenate([train, valid]), test)


def _read_text(path: Path, split: str) -> bytes:
    """The official text in the file, zipped or not whatever its name says, its lines ended as they should be."""
    content = idx.read_unzipped(path)
    text = content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
    digest = hashlib.sha256(text).hexdigest()
    if digest != TEXT_SHA256[split]:
        raise InputError(
            f"{path} is not the official file (its unzipped bytes have the SHA-256 {digest}, "
            f"not {TEXT_SHA256[split]}): replace or remove it."
        )
    return text


def _read_downloaded(cache_folder: Path, allowed: bool) -> Dataset:
    """Download what the cache folder lacks; into a temporary folder where it cannot be written."""
    if not allowed:
        raise InputError(f"{NAME} was not found and downloads are switched off: {WHAT_TO_DO}")
    with tempfile.TemporaryDirectory(prefix="vnca_jax-") as scratch:
        folder = cache_folder if folders.is_writable(cache_folder) else Path(scratch)
        present = _find_files(folder)
        for split in (split for split in TEXT_SHA256 if split not in present):
            name = f"{NAME}_{split}.amat"
            try:
                download_file(f"{BASE_URL}/{name}", folder / name, TEXT_SHA256[split])
            except InputError as error:
                raise InputError(f"{NAME} was not found and {error}: {WHAT_TO_DO}") from error
        return _read_files(_find_files(folder))


# A copy that tensorflow-datasets has prepared


def _read_tfds() -> Dataset | None:
    """The images of the copy that tensorflow-datasets has prepared, in its own shuffled order; None without one."""
    copy = tfds_copy.read(NAME, list(TFDS_SPLITS.values()), ["image"])
    if copy is None:
        return None
    rows = {split: copy.splits[name]["image"].reshape(-1, NUM_PIXELS) for split, name in TFDS_SPLITS.items()}
    for split, expected in SORTED_ROWS_SHA256.items():
        packed = np.packbits(rows[split], axis=1)
        if rows[split].max() > 1 or hashlib.sha256(b"".join(sorted(map(bytes, packed)))).hexdigest() != expected:
            raise InputError(
                f"The tensorflow-datasets copy of {NAME} in {copy.folder} does not hold the official images of "
                f"the split {TFDS_SPLITS[split]}: remove it."
            )
    return _dataset(np.concatenate([rows["train"], rows["valid"]]), rows["test"])


def _dataset(train: UInt8[np.ndarray, "n pixels"], test: UInt8[np.ndarray, "m pixels"]) -> Dataset:
    images = (pixels.reshape(-1, *IMAGE_SHAPE) for pixels in (train, test))
    return Dataset(NAME, *images, num_validation=NUM_VALIDATION)


# The cache: the numbers of training and test images, their pixels bit-packed

CACHE_MARK = b"vnca_jax bits 1\n"
CACHE_COUNTS = struct.Struct("<2I")


def _read_cache(path: Path) -> Dataset | None:
    """What `_write_cache` wrote; None where there is nothing, or not all of it as it was written."""
    content = cache.read(path, CACHE_MARK)
    if content is None:
        return None
    num_train, num_test = CACHE_COUNTS.unpack_from(content)
    packed = np.frombuffer(content, np.uint8, offset=CACHE_COUNTS.size)
    rows = np.unpackbits(packed, count=(num_train + num_test) * NUM_PIXELS).reshape(-1, NUM_PIXELS)
    return _dataset(rows[:num_train], rows[num_train:])


def _write_cache(path: Path, dataset: Dataset) -> None:
    """Keep the dataset for the next time; a folder that cannot be written leaves the load without a cache."""
    counts = CACHE_COUNTS.pack(len(dataset.train), len(dataset.test))
    cache.write(path, CACHE_MARK, counts + np.packbits(np.concatenate([dataset.train, dataset.test])).tobytes())

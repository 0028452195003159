"""CelebA (Liu et al., 2015): 202,599 aligned faces, cropped and rescaled to 64x64 or 32x32 pixels.

The paper says no more than "rescaled to 64 x 64". Here the central square of 178x178 pixels of an aligned image, 178
wide and 218 high, is resized with pillow's antialiased bilinear filter. As for MNIST, the training images here are the
official training and validation images, in this order.
"""

import csv
import hashlib
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vnca_jax import paths
from vnca_jax.data import folders, image_cache, pictures, tfds_copy
from vnca_jax.data.dataset import Dataset, check_size
from vnca_jax.errors import InputError

NAME = "celeba"
SIZES = (64, 32)
ALIGNED_SIZE = (178, 218)  # width, height
CROP = (0, 20, 178, 198)  # left, top, right, bottom of the central square
CACHE_VERSION = "vnca_jax celeba 1"

PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
CSV_HEADER = "image_id,partition"
IMAGE_PLACES = ("img_align_celeba/img_align_celeba", "img_align_celeba", "img_align_celeba.zip")
TFDS_NAME = "celeb_a"
TFDS_SPLITS = ("train", "validation", "test")  # the official partitions 0, 1 and 2
WHAT_TO_DO = (
    "put img_align_celeba.zip, or its images as img_align_celeba/*.jpg, and list_eval_partition.txt (or .csv) into one "
    "folder, or into its sub-folder celeba, and name it with --data-dir or $VNCA_DATA_DIR, or attach them as a dataset "
    "under /kaggle/input."
)


def load(*, size: int = 64, data_dir: Path | None = None, cache_dir: Path | None = None) -> Dataset:
    """182,637 training and 19,962 test images of `size` x `size` x 3 pixels, mapped from a file and not in memory.

    Looks for the official files, or the copy of them on Kaggle, in `data_dir`, $VNCA_DATA_DIR and under /kaggle/input,
    then for a copy that tensorflow-datasets has prepared. The first time, minutes, the images are written to the cache
    folder (2.5 GB for 64x64). Raises InputError for another size, where a file is wrong, and where none is found.
    """
    check_size(NAME, size, SIZES)
    source = _find(data_dir)
    key = hashlib.sha256(os.fsencode(f"{CACHE_VERSION}\n{source.identity()}")).hexdigest()[:16]
    path = folders.cache_folder(cache_dir) / f"{NAME}_{size}_{key}.npy"

    def read_image(index: int) -> UInt8[np.ndarray, "h w 3"]:
        return rescaled(source.read(index), size, source.name_of(index))

    count = source.num_train + source.num_test
    identities = [hashlib.sha256(os.fsencode(source.identity_of(index))).digest() for index in range(count)]
    images = image_cache.read_or_make(path, (count, size, size, 3), read_image, identities=identities, name=NAME)
    return Dataset(NAME, train=images[: source.num_train], test=images[source.num_train :])


def rescaled(image: Image.Image, size: int, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """The central square of an aligned image in `size` x `size` pixels; InputError if the image is not aligned."""
    if image.size != ALIGNED_SIZE:
        width, height = image.size
        raise InputError(f"{name} has {width}x{height} pixels, but an aligned image of {NAME} has 178x218: replace it.")
    square = image.convert("RGB").crop(CROP)
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


# The partition file


def parse_partition(text: str, path: Path) -> tuple[list[str], int]:
    """The names of the images, training, validation, then test images, and how many of them are not test images.

    Raises InputError, naming the line, unless each line is a name of its own and 0, 1 or 2, and each number occurs.
    """
    is_csv = path.suffix.lower() == ".csv"
    lines = text.splitlines()
    if is_csv and (not lines or ",".join(_two_fields(lines[0], is_csv)) != CSV_HEADER):
        raise InputError(f"Line 1 of {path} is not {CSV_HEADER!r}: replace it by the official file.")
    names, seen = ([], [], []), set()
    for number, line in enumerate(lines[is_csv:], 1 + is_csv):
        if not line.strip():
            continue
        name, partition = _two_fields(line, is_csv)
        if partition not in ("0", "1", "2") or name in seen or name != os.path.basename(name):
            raise InputError(
                f"Line {number} of {path}, {line.strip()!r}, is not a name of its own and 0, 1 or 2: "
                "replace it by the official file."
            )
        seen.add(name)
        names[int(partition)].append(name)
    if empty := [str(partition) for partition in range(3) if not names[partition]]:
        raise InputError(f"{path} has no image of partition {', '.join(empty)}: replace it by the official file.")
    train, valid, test = names
    return [*train, *valid, *test], len(train) + len(valid)


def _two_fields(line: str, is_csv: bool) -> tuple[str, str]:
    """The two fields of a line, quoted or not; of another number, two empty ones."""
    [fields] = csv.reader([line.strip()], skipinitialspace=True) if is_csv else [line.replace('"', " ").split()]
    return (fields[0].strip(), fields[1].strip()) if len(fields) == 2 else ("", "")


# Where the images come from: sources, which hold images by index, the training images first, and are read on threads


def _find(data_dir: Path | None) -> "FileSource | TfdsSource":
    """The files in `data_dir`; without one, the first of all the places that the docstring of `load` names."""
    if data_dir is not None:
        source = _files_in(paths.expanded(data_dir))
        if source is None:
            raise InputError(f"The data folder {data_dir} does not hold the images of {NAME}: {WHAT_TO_DO}")
        return source
    for folder in (*folders.named_folders(), *_kaggle_folders()):
        if (source := _files_in(folder)) is not None:
            return source
    found = tfds_copy.examples(TFDS_NAME, list(TFDS_SPLITS))
    if found is None:
        raise InputError(f"{NAME} was not found: {WHAT_TO_DO}")
    return TfdsSource(found)


def _kaggle_folders() -> Iterator[Path]:
    return (folder for folder in folders.kaggle_folders() if folder.name != "img_align_celeba")


def _files_in(folder: Path) -> "FileSource | None":
    """The images in `folder` or in its sub-folder celeba, with their partition file; None if either is missing.

    The project's own download has the images in Img and the partition file in Eval.
    """
    for inside in (folder, *(folder / name for name in (NAME, "CelebA"))):
        files = [inside / part / name for part in (".", "Eval") for name in PARTITION_FILES]
        partitions = [path for path in files if paths.is_file(path)]
        images = [path for path in (inside / part / place for part in (".", "Img") for place in IMAGE_PLACES)
                  if paths.exists(path)]  # fmt: skip
        if partitions and images:
            return FileSource(partitions[0], images[0])
    return None


class FileSource:
    """The official files: a partition file, and a folder or a zip file of images."""

    def __init__(self, partition: Path, images: Path):
        text = paths.read_text(partition, "replace it by the official file")
        self.names, self.num_train = parse_partition(text, partition)
        self.num_test = len(self.names) - self.num_train
        self.images = images
        self.zip = _open_zip(images) if images.suffix == ".zip" else None
        self.sizes, self.members = _sizes_in(images, self.zip)
        if missing := [name for name in self.names if name not in self.sizes]:
            raise InputError(
                f"{images} lacks {len(missing):,} of the {len(self.names):,} images that {partition} names, the first "
                f"of them {min(missing)}: unpack or download it again."
            )

    def identity(self) -> str:
        """Names in their order, their split, and the size of each file."""
        lines = [f"{name} {self.sizes[name]}" for name in self.names]
        return "\n".join([f"files {self.num_train} {self.num_test}", *lines])

    def identity_of(self, index: int) -> str:
        """Where an image is, and its size."""
        return f"files {self.images.absolute()} {self.names[index]} {self.sizes[self.names[index]]}"

    def name_of(self, index: int) -> str:
        return str(self.images / self.names[index])

    def read(self, index: int) -> Image.Image:
        name = self.names[index]
        try:
            content = self.zip.read(self.members[name]) if self.zip else paths.read_bytes(self.images / name)
            return pictures.opened(content)
        except InputError:
            raise
        except Exception as error:  # zipfile's are of many types
            raise InputError(
                f"{self.name_of(index)} cannot be read ({error}): replace it by the official file."
            ) from error


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        denied = isinstance(error, OSError) and error.errno in paths.CLOSED
        what = "make it readable" if denied else "download it again"
        raise InputError(f"{path} cannot be read ({error}): {what}.") from error


def _sizes_in(images: Path, archive: zipfile.ZipFile | None) -> tuple[dict[str, int], dict[str, zipfile.ZipInfo]]:
    """The size in bytes of each file by its name; and of a zip file, its members by the same names."""
    if archive is None:
        try:
            with os.scandir(images) as entries:
                return {entry.name: entry.stat().st_size for entry in entries}, {}
        except OSError as error:
            raise InputError(f"The folder {images} cannot be read ({paths.reason(error)}): allow it.") from error
    members = {os.path.basename(member.filename): member for member in archive.infolist() if not member.is_dir()}
    return {name: member.file_size for name, member in members.items()}, members


class TfdsSource:
    """A copy that tensorflow-datasets has prepared, in its own shuffled order."""

    def __init__(self, found: tfds_copy.TfdsExamples):
        self.folder = found.folder
        self.splits = [found.splits[split] for split in TFDS_SPLITS]
        train, valid, self.num_test = map(len, self.splits)
        self.num_train = train + valid
        self.lock = threading.Lock()

    def identity(self) -> str:
        """The folder and the number of images in each split."""
        return f"tfds {self.folder} {[len(split) for split in self.splits]}"

    def identity_of(self, index: int) -> str:
        """The folder, and the place in it."""
        return f"tfds {self.folder} {index}"

    def name_of(self, index: int) -> str:
        split, place = self._place(index)
        return f"Image {place} of the split {TFDS_SPLITS[split]} in {self.folder}"

    def read(self, index: int) -> Image.Image:
        split, place = self._place(index)
        try:
            with self.lock:  # its readers make no promise about threads
                example: Any = self.splits[split][place]
            return Image.fromarray(np.asarray(example["image"]))
        except Exception as error:  # of many types
            raise InputError(f"{self.name_of(index)} cannot be read ({error}): prepare the copy again.") from error

    def _place(self, index: int) -> tuple[int, int]:
        for split, examples in enumerate(self.splits):
            if index < len(examples):
                return split, index
            index -= len(examples)
        raise IndexError(index)

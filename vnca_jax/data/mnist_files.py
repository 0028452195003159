"""The four files in which MNIST comes, and the datasets that were made to take its place: found, verified, downloaded.

They have the same names whatever they show, so each dataset's are told by their SHA-256. Zipped or not, and zipped by
whom, makes no difference, because it is taken of the unzipped bytes.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from vnca_jax import paths
from vnca_jax.data import folders, idx, tfds_copy
from vnca_jax.data.download import download as download_file
from vnca_jax.errors import InputError

Split = Literal["train", "test"]

# Images and labels of each split.
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class MnistFiles:
    """One dataset in these files."""

    name: str
    """What tensorflow-datasets calls it too."""
    subfolders: tuple[str, ...]
    """Sub-folders of a data folder that may hold the files, besides that folder itself."""
    url: str
    """Where the zipped files are."""
    sha256: dict[str, str]
    """Of each file's unzipped bytes."""
    zipped_sha256: dict[str, str]
    """Of each zipped file as it is downloaded."""
    sums: dict[str, tuple[int, int]]
    """All pixels of each split, and all its labels: what can be held against a copy in another order."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Grey images of pixels 0..255 and their labels 0..9."""

    images: UInt8[np.ndarray, "n h w"]
    labels: UInt8[np.ndarray, " n"]


def read_split(
    files: MnistFiles, split: Split, *, data_dir: Path | None = None, cache_dir: Path | None = None, download: bool
) -> Labelled | None:
    """One split of the dataset; None where it is not at hand and `download` is not allowed.

    Looks for the files in `data_dir`, $VNCA_DATA_DIR, under /kaggle/input and in the cache folder, then for a copy that
    tensorflow-datasets has prepared (in its own order), then downloads. Raises InputError where a folder that is named
    has another file under the name, where such a copy is another one, and where a download fails.
    """
    kept = folders.cache_folder(cache_dir) / files.name
    named = [*([paths.expanded(data_dir)] if data_dir else []), *folders.named_folders()]
    named = [folder / subfolder for folder in named for subfolder in (".", *files.subfolders)]
    named += [kept] if paths.allows(kept, os.R_OK | os.X_OK) else []
    found = {name: content for name in FILES[split] if (content := _find(files, name, named)) is not None}
    if len(found) < len(FILES[split]):
        if (copy := _read_tfds(files, split)) is not None:
            return copy
        if not download:
            return None
        found |= _download(files, [name for name in FILES[split] if name not in found], kept)
    images, labels = (idx.parse_idx(found[name], Path(name)) for name in FILES[split])
    return Labelled(images, labels)


def what_to_do(files: MnistFiles, *splits: Split) -> str:
    """Where a user should put the files of these splits, as the end of a sentence."""
    names = ", ".join(name for split in splits for name in FILES[split])
    return (
        f"put {names} (plain or .gz) into the folder {files.subfolders[0]} of the one that --data-dir or "
        "$VNCA_DATA_DIR names, or attach them as a dataset under /kaggle/input."
    )


def _find(files: MnistFiles, name: str, named: list[Path]) -> bytes | None:
    """The unzipped content of the first file that is the right one; InputError where only wrong ones were named."""
    wrong = None
    for path in _candidates(name, named):
        content = idx.read_unzipped(path)
        digest = hashlib.sha256(content).hexdigest()
        if digest == files.sha256[name]:
            return content
        wrong = wrong or (path, digest)
    for path in _candidates(name, folders.kaggle_folders()):
        content = idx.read_unzipped(path)
        if hashlib.sha256(content).hexdigest() == files.sha256[name]:
            return content
    if wrong:
        path, digest = wrong
        raise InputError(
            f"{path} is not the file of {files.name} (its unzipped bytes have the SHA-256 {digest}, not "
            f"{files.sha256[name]}), and other datasets' files have the same name: replace it, or put that of "
            f"{files.name} into a sub-folder {files.subfolders[0]}."
        )
    return None


def _candidates(name: str, among: list[Path] | Iterator[Path]) -> Iterator[Path]:
    dotted = name.replace("-idx", ".idx")
    for folder in among:
        for path in (folder / name, folder / f"{name}.gz", folder / dotted, folder / f"{dotted}.gz"):
            if paths.is_file(path):
                yield path


def _download(files: MnistFiles, names: list[str], kept: Path) -> dict[str, bytes]:
    """The unzipped content of these files, kept in the folder `kept` where that can be written."""
    with tempfile.TemporaryDirectory(prefix="vnca_jax-") as scratch:
        folder = kept if folders.is_writable(kept) else Path(scratch)
        for name in names:
            try:
                download_file(f"{files.url}/{name}.gz", folder / f"{name}.gz", files.zipped_sha256[name])
            except InputError as error:
                split: Split = "train" if name in FILES["train"] else "test"
                raise InputError(f"{files.name} was not found and {error}: {what_to_do(files, split)}") from error
        return {name: idx.read_unzipped(folder / f"{name}.gz") for name in names}


def _read_tfds(files: MnistFiles, split: Split) -> Labelled | None:
    """The split of the copy that tensorflow-datasets has prepared; None without one."""
    copy = tfds_copy.read(files.name, [split], ["image", "label"])
    if copy is None:
        return None
    images, labels = copy.splits[split]["image"][..., 0], copy.splits[split]["label"].astype(np.uint8)
    if (int(images.sum(dtype=np.int64)), int(labels.sum(dtype=np.int64))) != files.sums[split]:
        raise InputError(
            f"The tensorflow-datasets copy of {files.name} in {copy.folder} does not hold the official images and "
            f"labels of the split {split}: remove it."
        )
    return Labelled(images, labels)

"""Small files in the layouts of CelebA, and what should be read from them."""

import functools
import zipfile
from pathlib import Path

import numpy as np
from tiny_pictures import decoded, jpeg, resized, smooth

from vnca_jax import data

PARTITIONS = [0, 2, 1, 0, 0, 1, 2, 0, 0, 2, 0, 1, 0, 0, 2, 0, 0, 2, 1, 0]
NAMES = [f"{number:06d}.jpg" for number in range(1, 21)]
ORDER = [i for wanted in (0, 1, 2) for i, partition in enumerate(PARTITIONS) if partition == wanted]


def make_jpegs() -> list[bytes]:
    return [jpeg(smooth(seed, 218, 178, 3)) for seed in range(len(NAMES))]


def write(folder: Path, jpegs: list[bytes], layout: str = "folder") -> Path:
    """The files in the official layout, unpacked or as zip file, or in that of the copy on Kaggle."""
    images = folder / ("img_align_celeba/img_align_celeba" if layout == "kaggle" else "img_align_celeba")
    lines = [f"{name} {partition}" for name, partition in zip(NAMES, PARTITIONS, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "kaggle":
        rows = ["image_id,partition", *(line.replace(" ", ",") for line in lines)]
        (folder / "list_eval_partition.csv").write_text("\n".join(rows) + "\n")
    else:
        (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    if layout == "zip":
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            for name, content in zip(NAMES, jpegs, strict=True):
                archive.writestr(f"img_align_celeba/{name}", content)
        return folder
    images.mkdir(parents=True)
    for name, content in zip(NAMES, jpegs, strict=True):
        (images / name).write_bytes(content)
    return folder


@functools.cache
def rescaled(content: bytes, size: int) -> np.ndarray:
    return resized(decoded(content)[20:198], size)


def expected(jpegs: list[bytes], size: int) -> np.ndarray:
    return np.stack([rescaled(jpegs[i], size) for i in ORDER])


def assert_holds(dataset: data.Dataset, jpegs: list[bytes], size: int = 64) -> None:
    assert dataset.name == "celeba" and len(dataset.train) == 15 and len(dataset.test) == 5
    for images in (dataset.train, dataset.test):
        assert isinstance(images, np.memmap) and images.dtype == np.uint8 and not images.flags.writeable
    assert np.array_equal(np.concatenate([dataset.train, dataset.test]), expected(jpegs, size))

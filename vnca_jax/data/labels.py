"""Labels of a dataset that comes without: those of the MNIST images that binarized MNIST was drawn from."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vnca_jax.data import binarized_mnist, cache, folders, mnist
from vnca_jax.data.dataset import Dataset
from vnca_jax.data.matching import match
from vnca_jax.errors import InputError

CACHE_MARK = b"vnca_jax labels 1\n"


def labelled(
    dataset: Dataset, *, data_dir: Path | None = None, cache_dir: Path | None = None, download: bool = True
) -> Dataset:
    """The dataset with the labels of its test images.

    Those of binarized MNIST, padded or not, are matched with MNIST's (in seconds, once: the labels are cached), which
    are downloaded if they are not at hand and `download` is set. Raises InputError where they are missing, and for
    other datasets without labels.
    """
    if dataset.test_labels is not None:
        return dataset
    if dataset.name != binarized_mnist.NAME:
        raise InputError(f"{dataset.name} has no labels, and only those of {binarized_mnist.NAME} can be recovered.")
    return dataclasses.replace(dataset, test_labels=_labels(dataset.test, data_dir, cache_dir, download))


def _labels(
    images: UInt8[np.ndarray, "n h w 1"], data_dir: Path | None, cache_dir: Path | None, download: bool
) -> UInt8[np.ndarray, " n"]:
    """The labels of the test images, from the cache, else by matching."""
    rows = _without_border(images).reshape(-1, binarized_mnist.NUM_PIXELS)
    digest = hashlib.sha256(np.packbits(rows).tobytes())
    path = folders.cache_folder(cache_dir) / f"{binarized_mnist.NAME}_test_{digest.hexdigest()[:16]}.labels"
    mark = CACHE_MARK + digest.digest()
    if (content := cache.read(path, mark)) is not None:
        return np.frombuffer(content, np.uint8)
    source = mnist.read("test", data_dir=data_dir, cache_dir=cache_dir, download=download)
    if source is None:
        raise InputError(
            f"The labels of {binarized_mnist.NAME} come from MNIST, which was not found, and downloads are switched "
            f"off: {mnist.where_to_put('test')}"
        )
    labels = source.labels[match(rows, source.images.reshape(len(source.images), -1)).index]
    cache.write(path, mark, labels.tobytes())
    return labels


def _without_border(images: UInt8[np.ndarray, "n h w 1"]) -> UInt8[np.ndarray, "n 28 28 1"]:
    """The middle of the images, as it was before `Dataset.padded`."""
    _, height, width, _ = images.shape
    middle_height, middle_width, _ = binarized_mnist.IMAGE_SHAPE
    top, left = (height - middle_height) // 2, (width - middle_width) // 2
    return images[:, top : top + middle_height, left : left + middle_width]

"""Datasets by name."""

import difflib
from pathlib import Path

from vnca_jax.data import binarized_mnist, digits, fashion_mnist
from vnca_jax.data.dataset import Dataset
from vnca_jax.data.labels import labelled
from vnca_jax.errors import InputError

__all__ = ["DATASETS", "Dataset", "labelled", "load"]

DATASETS = ("binarized_mnist", "digits", "fashion_mnist")


def load(name: str, *, data_dir: Path | None = None, cache_dir: Path | None = None, download: bool = True) -> Dataset:
    """The dataset called `name`, one of DATASETS.

    `data_dir` holds the official files, `cache_dir` (default $VNCA_CACHE_DIR, else ~/.cache/vnca_jax) what is made from
    them, and `download` allows to fetch missing ones; `digits` needs none of these. Raises InputError for another
    name, and for files that are missing or wrong.
    """
    if name == "binarized_mnist":
        return binarized_mnist.load(data_dir=data_dir, cache_dir=cache_dir, download=download)
    if name == "digits":
        return digits.load()
    if name == "fashion_mnist":
        return fashion_mnist.load(data_dir=data_dir, cache_dir=cache_dir, download=download)
    nearest = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.3)
    suggestion = f"; did you mean {nearest[0]!r}?" if nearest else "."
    raise InputError(f"There is no dataset {name!r}, only {', '.join(DATASETS[:-1])} and {DATASETS[-1]}{suggestion}")

"""Small files in the official format of binarized MNIST, which tests put in the place of the official ones."""

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from vnca_jax import data
from vnca_jax.data import binarized_mnist, folders

SPLITS = ("train", "valid", "test")
WHERE = "--data-dir or $VNCA_DATA_DIR, or attach them as a dataset under /kaggle/input."


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def amat(rows: list[list[int]]) -> bytes:
    return "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()


def put_tiny_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[int]]]:
    """Make three small splits, returned here, the official ones, and leave no way to any data but tmp_path."""
    sizes = {"train": 5, "valid": 2, "test": 3}
    rows = {s: np.random.default_rng(n).integers(2, size=(n, 784)).tolist() for s, n in sizes.items()}
    packed = {s: sorted(int("".join(map(str, row)), 2).to_bytes(98, "big") for row in rows[s]) for s in SPLITS}
    monkeypatch.setattr(binarized_mnist, "TEXT_SHA256", {s: sha256(amat(rows[s])) for s in SPLITS})
    monkeypatch.setattr(binarized_mnist, "SORTED_ROWS_SHA256", {s: sha256(b"".join(packed[s])) for s in SPLITS})
    monkeypatch.setattr(folders, "KAGGLE_INPUT", tmp_path / "kaggle")
    monkeypatch.setattr(binarized_mnist, "BASE_URL", "http://127.0.0.1:9/nothing")
    monkeypatch.setenv("VNCA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("VNCA_DATA_DIR", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    return rows


def write_files(folder: Path, rows: dict, *, zipped: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, images in rows.items():
        path = folder / f"binarized_mnist_{split}.amat{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(amat(images)) if zipped else amat(images))
    return folder


def assert_holds(dataset: data.Dataset, rows: dict) -> None:
    assert dataset.name == "binarized_mnist" and dataset.train.dtype == dataset.test.dtype == np.uint8
    assert dataset.train.tolist() == np.reshape(rows["train"] + rows["valid"], (-1, 28, 28, 1)).tolist()
    assert dataset.test.tolist() == np.reshape(rows["test"], (-1, 28, 28, 1)).tolist()

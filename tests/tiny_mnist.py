"""Small files in MNIST's layout, which tests put in the place of the official ones."""

import dataclasses
import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from vnca_jax.data.mnist_files import FILES, Labelled, MnistFiles


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def idx_bytes(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def make_splits(seed: int, sizes: dict[str, int]) -> dict[str, Labelled]:
    """Grey images that are black and white in places, with labels."""
    random = np.random.default_rng(seed)
    return {
        split: Labelled(
            np.clip(random.integers(-200, 456, (n, 28, 28)), 0, 255).astype(np.uint8),
            random.integers(10, size=n, dtype=np.uint8),
        )
        for split, n in sizes.items()
    }


def contents(splits: dict[str, Labelled]) -> dict[str, bytes]:
    """The unzipped files of the splits by name."""
    arrays = {split: (held.images, held.labels) for split, held in splits.items()}
    return {name: idx_bytes(array) for split in splits for name, array in zip(FILES[split], arrays[split], strict=True)}


def put_in_place(monkeypatch: pytest.MonkeyPatch, module, attribute: str, splits: dict[str, Labelled]) -> None:
    """Make the splits the official ones of `module.attribute`, with no way to a server."""
    official: MnistFiles = getattr(module, attribute)
    files = contents(splits)
    replaced = dataclasses.replace(
        official,
        url="http://127.0.0.1:9/nothing",
        sha256={name: sha256(content) for name, content in files.items()},
        zipped_sha256={name: sha256(gzip.compress(content, mtime=0)) for name, content in files.items()},
        sums={split: (int(held.images.sum()), int(held.labels.sum())) for split, held in splits.items()},
    )
    monkeypatch.setattr(module, attribute, replaced)


def write(folder: Path, splits: dict[str, Labelled], *, zipped: bool = False, dotted: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents(splits).items():
        name = name.replace("-idx", ".idx") if dotted else name
        (folder / f"{name}{'.gz' if zipped else ''}").write_bytes(gzip.compress(content) if zipped else content)
    return folder


def assert_same(found: Labelled | None, expected: Labelled) -> None:
    assert found is not None
    assert found.images.dtype == found.labels.dtype == np.uint8
    assert found.images.tolist() == expected.images.tolist() and found.labels.tolist() == expected.labels.tolist()

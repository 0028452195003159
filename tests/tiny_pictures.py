"""Pictures that tests make, and what pillow's antialiased bilinear filter should make of them."""

import io
from pathlib import Path

import numpy as np
import pytest
import tiny_binarized_mnist
from PIL import Image

from vnca_jax.data import emoji


def use_tmp_path_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves no way to any data or cache but tmp_path."""
    tiny_binarized_mnist.put_tiny_in_place(tmp_path, monkeypatch)
    monkeypatch.setattr(emoji, "SYSTEM_FONTS", tmp_path / "fonts")


def smooth(seed: int, height: int, width: int, channels: int) -> np.ndarray:
    """Waves of random direction, uint8 (h, w, c)."""
    random = np.random.default_rng(seed)
    y, x = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    angle, phase = random.uniform(-0.3, 0.3, (2, channels)), random.uniform(0, 6, channels)
    return np.rint(127.5 + 127.5 * np.sin(x * angle[0] + y * angle[1] + phase)).astype(np.uint8)


def jpeg(pixels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(pixels), "JPEG", quality=95)


def png(pixels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(pixels), "PNG")


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def folder_of(count: int, width: int, folder: Path) -> Path:
    """So many pictures of 8 rows in three folders of `folder`."""
    for i in range(count):
        write(folder / f"{'abc'[i % 3]}/picture {i}.png", png(smooth(i, 8, width, 3)))
    return folder


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def resized(pixels: np.ndarray, size: int) -> np.ndarray:
    """A square (n, n, c) in (size, size, c): triangles as wide as two new pixels, first along rows, then along columns.

    Pillow's weights have 22 binary places, and it rounds half up to 8 bits after either.
    """
    length = len(pixels)
    scale = length / size
    centres = (np.arange(size) + 0.5) * scale
    weights = np.maximum(1 - np.abs(np.arange(length)[None] + 0.5 - centres[:, None]) / scale, 0)
    weights = np.floor(weights / weights.sum(axis=1, keepdims=True) * 2**22 + 0.5)
    rows = np.floor(np.moveaxis(np.tensordot(weights, pixels.astype(float), (1, 1)), 0, 1) / 2**22 + 0.5)
    return np.floor(np.tensordot(weights, rows, (1, 0)) / 2**22 + 0.5).astype(np.uint8)

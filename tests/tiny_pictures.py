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
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
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

"""The 8x8 digits that scikit-learn contains, binarized: a small dataset that needs no file and no network."""

import hashlib

import numpy as np
from jaxtyping import Float, UInt8

from vnca_jax.data.dataset import Dataset

NUM_TEST = 360
THRESHOLD = 8  # of the pixel values 0..16


def load() -> Dataset:
    """1,437 training and 360 test images of 8x8 pixels with labels; a pixel is 1 where its value is at least 8 of 16.

    The images come in the order of the SHA-256 of their decimal index, which no version of a random generator can
    change; the first 360 are the test images, so that writers and digits are mixed over both sides.
    """
    values, labels = read()
    images = (values >= THRESHOLD).astype(np.uint8)
    return Dataset(
        "digits", images[NUM_TEST:], images[:NUM_TEST], train_labels=labels[NUM_TEST:], test_labels=labels[:NUM_TEST]
    )


def read() -> tuple[Float[np.ndarray, "n 8 8 1"], UInt8[np.ndarray, " n"]]:
    """All pixel values, 0 to 16, and labels in that order."""
    from sklearn.datasets import load_digits  # takes a second to import

    values, labels = load_digits(return_X_y=True)
    order = sorted(range(len(labels)), key=lambda index: hashlib.sha256(str(index).encode()).digest())
    return np.asarray(values).reshape(-1, 8, 8, 1)[order], np.asarray(labels)[order].astype(np.uint8)

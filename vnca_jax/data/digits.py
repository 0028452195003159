"""The 8x8 digits that scikit-learn contains, binarized: a small dataset that needs no file and no network."""

import hashlib

import numpy as np

from vnca_jax.data.dataset import Dataset

NUM_TEST = 360
THRESHOLD = 8  # of the pixel values 0..16


def load() -> Dataset:
    """1,437 training and 360 test images of 8x8 pixels with labels; a pixel is 1 where its value is at least 8 of 16.

    The images come in the order of the SHA-256 of their decimal index, which no version of a random generator can
    change; the first 360 are the test images, so that writers and digits are mixed over both sides.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    values, labels = load_digits(return_X_y=True)
    values = np.asarray(values).reshape(-1, 8, 8, 1)
    order = sorted(range(len(values)), key=lambda index: hashlib.sha256(str(index).encode()).digest())
    images = (values[order] >= THRESHOLD).astype(np.uint8)
    labels = np.asarray(labels)[order].astype(np.uint8)
    return Dataset(
        "digits", images[NUM_TEST:], images[:NUM_TEST], train_labels=labels[NUM_TEST:], test_labels=labels[:NUM_TEST]
    )

"""The 8x8 digits that scikit-learn contains, in colour: a small dataset that needs no file and no network."""

import hashlib

import numpy as np

from vnca_jax.data import digits
from vnca_jax.data.dataset import Dataset

HIGHEST = 16  # of the pixel values
INKS = np.array([[230, 40, 40], [40, 200, 60], [60, 90, 240], [230, 200, 40], [200, 60, 220], [240, 240, 240]])


def load() -> Dataset:
    """The same images in the same order as `digits`, their 17 grey levels as strengths of one of six inks on black.

    A pixel is round(level / 16 * ink), of red, green and blue from 0 to 255. The ink is the SHA-256 of the image's
    values modulo 6, so that neither its digit nor its place tells it.
    """
    values, labels = digits.read()
    inks = INKS[[hashlib.sha256(image.astype(np.uint8).tobytes()).digest()[0] % len(INKS) for image in values]]
    images = np.rint(values / HIGHEST * inks[:, None, None]).astype(np.uint8)
    test = slice(None, digits.NUM_TEST)
    train = slice(digits.NUM_TEST, None)
    return Dataset("coloured_digits", images[train], images[test], train_labels=labels[train], test_labels=labels[test])

"""The coloured digits against scikit-learn's, pixel by pixel."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from vnca_jax import data

INKS = np.array([[230, 40, 40], [40, 200, 60], [60, 90, 240], [230, 200, 40], [200, 60, 220], [240, 240, 240]])


@pytest.fixture(scope="module")
def found():
    return data.load("coloured_digits")


def levels_and_ink(image):
    """The levels and the number of the one ink that give the image."""
    image, fits = image.astype(int), []
    for number, ink in enumerate(INKS):
        levels = np.rint(image[..., ink.argmax()] * 16 / ink.max())
        if np.array_equal(image, np.rint(levels[..., None] / 16 * ink)):
            fits.append((levels, number))
    [one] = fits
    return one


def test_every_pixel_is_its_level_of_one_ink(found):
    raw = {bytes(level.astype(np.uint8)) for level in load_digits(return_X_y=True)[0].reshape(-1, 8, 8)}
    binary, inks = data.load("digits"), set()
    for images, black_and_white in ((found.train, binary.train), (found.test, binary.test)):
        assert images.shape == (*black_and_white.shape[:3], 3) and images.dtype == np.uint8
        for image, bits in zip(images, black_and_white, strict=True):
            levels, ink = levels_and_ink(image)
            assert bytes(levels.astype(np.uint8)) in raw
            np.testing.assert_array_equal(levels >= 8, bits[..., 0] == 1)
            inks.add(ink)
    assert inks == set(range(6))


def test_the_ink_does_not_tell_the_digit(found):
    counts = np.zeros((6, 10))
    np.add.at(counts, ([levels_and_ink(image)[1] for image in found.train], found.train_labels), 1)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    assert ((counts - expected) ** 2 / expected).sum() < 80  # chi-square of 45 degrees of freedom: 99.9 % lie below 80
    np.testing.assert_array_equal(found.test_labels, data.load("digits").test_labels)

"""The images of one dataset, split into training and test images."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from vnca_jax.errors import InputError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one size, channel last; binary datasets hold the values 0 and 1."""

    name: str
    train: UInt8[np.ndarray, "n h w c"]
    test: UInt8[np.ndarray, "m h w c"]

    def some_test_images(self, count: int | None) -> UInt8[np.ndarray, "k h w c"]:
        """`count` test images (None, or more than there are: all), evenly spread over the test set.

        Official test sets may be sorted: binarized MNIST's is, so its first 900 images are zeros.
        """
        count = min(count or len(self.test), len(self.test))
        return self.test[np.arange(count) * len(self.test) // count]

    def padded(self, size: int) -> "Dataset":
        """The same images with a zero border, centred in `size` x `size` pixels.

        Raises InputError where the border would be negative or not equally wide on both sides.
        """
        _, height, width, _ = self.train.shape
        borders = (size - height, size - width)
        if any(border < 0 or border % 2 for border in borders):
            raise InputError(
                f"{self.name} has images of {height}x{width} pixels, which cannot be centred in {size}x{size}: "
                f"choose a size of at least {max(height, width)} that differs from it by an even number."
            )
        top, left = (border // 2 for border in borders)
        widths = ((0, 0), (top, top), (left, left), (0, 0))
        return Dataset(self.name, np.pad(self.train, widths), np.pad(self.test, widths))

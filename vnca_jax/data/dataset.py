"""The images of one dataset, split into training and test images."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64, UInt8

from vnca_jax.errors import InputError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one size, channel last, and their labels if known; binary datasets hold the values 0 and 1."""

    name: str
    train: UInt8[np.ndarray, "n h w c"]
    test: UInt8[np.ndarray, "m h w c"]
    train_labels: UInt8[np.ndarray, " n"] | None = None
    test_labels: UInt8[np.ndarray, " m"] | None = None

    def some_test_images(self, count: int | None) -> UInt8[np.ndarray, "k h w c"]:
        """`count` test images (None, or more than there are: all), evenly spread over the test set.

        Official test sets may be sorted: binarized MNIST's is, so its first 900 images are zeros.
        """
        return self.test[self._some_test_places(count)]

    def some_test_labels(self, count: int | None) -> UInt8[np.ndarray, " k"]:
        """The labels of `some_test_images(count)`; InputError where they are not known."""
        if self.test_labels is None:
            raise InputError(f"The test images of {self.name} have no labels; `vnca_jax.data.labelled` may find them.")
        return self.test_labels[self._some_test_places(count)]

    def _some_test_places(self, count: int | None) -> Int64[np.ndarray, " k"]:
        count = min(count or len(self.test), len(self.test))
        return np.arange(count) * len(self.test) // count

    def padded(self, size: int) -> "Dataset":
        """The same images and labels with a zero border, centred in `size` x `size` pixels; itself without a border.

        Raises InputError where the border would be negative or not equally wide on both sides.
        """
        _, height, width, _ = self.train.shape
        borders = (size - height, size - width)
        if any(border < 0 or border % 2 for border in borders):
            raise InputError(
                f"{self.name} has images of {height}x{width} pixels, which cannot be centred in {size}x{size}: "
                f"choose a size of at least {max(height, width)} that differs from it by an even number."
            )
        if not any(borders):
            return self
        top, left = (border // 2 for border in borders)
        widths = ((0, 0), (top, top), (left, left), (0, 0))
        return replace(self, train=np.pad(self.train, widths), test=np.pad(self.test, widths))


def check_size(name: str, size: int, sizes: tuple[int, ...]) -> None:
    """Raises InputError unless the dataset `name`, which can be had in `sizes`, comes in `size` x `size` pixels too."""
    if size not in sizes:
        *others, last = (f"{allowed}x{allowed}" for allowed in sorted(sizes, reverse=True))
        possible = f"{', '.join(others)} or {last}" if others else last
        raise InputError(
            f"{name} was asked for in {size}x{size} pixels, but comes in {possible} only: ask for that or for none."
        )

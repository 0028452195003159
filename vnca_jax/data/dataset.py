"""The images of one dataset, split into training and test images."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from vnca_jax.errors import InputError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one size, channel last, and their labels if known; binary datasets hold the values 0 and 1."""

    name: str
    train: UInt8[np.ndarray, "n h w c"]
    test: UInt8[np.ndarray, "m h w c"]
    train_labels: UInt8[np.ndarray, " n"] | None = None
    test_labels: UInt8[np.ndarray, " m"] | None = None
    num_validation: int = 0
    """How many of the training images, the last ones, are the official validation images; 0 where there are none."""

    def held_out(self) -> tuple["Dataset", UInt8[np.ndarray, "k h w c"]]:
        """The dataset without validation images, and these: the official ones, else every tenth training image."""
        count = len(self.train)
        if self.num_validation:
            kept, validation = slice(count - self.num_validation), slice(count - self.num_validation, count)
        else:
            validation = np.arange(count) % 10 == 9
            kept = ~validation
        labels = None if self.train_labels is None else self.train_labels[kept]
        return replace(self, train=self.train[kept], train_labels=labels, num_validation=0), self.train[validation]

    def some_test_images(self, count: int | None) -> UInt8[np.ndarray, "k h w c"]:
        """`count` test images (None, or more than there are: all), evenly spread over the test set.

        Official test sets may be sorted: binarized MNIST's is, so its first 900 images are zeros.
        """
        return evenly_spread(self.test, count)

    def some_test_labels(self, count: int | None) -> UInt8[np.ndarray, " k"]:
        """The labels of `some_test_images(count)`; InputError where they are not known."""
        if self.test_labels is None:
            raise InputError(f"The test images of {self.name} have no labels; `vnca_jax.data.labelled` may find them.")
        return evenly_spread(self.test_labels, count)

    def padded(self, size: int) -> "Dataset":
        """The same images and labels with a zero border, centred in `size` x `size` pixels; itself without a border.

        Raises InputError where the border would be negative or not equally wide on both sides.
        """
        _, height, width, _ = self.train.shape
        top, left = borders(self.name, (height, width), size)
        if not (top or left):
            return self
        widths = ((0, 0), (top, top), (left, left), (0, 0))
        return replace(self, train=np.pad(self.train, widths), test=np.pad(self.test, widths))


def evenly_spread(rows: UInt8[np.ndarray, "n *shape"], count: int | None) -> UInt8[np.ndarray, "k *shape"]:
    """`count` of the rows (None, or more than there are: all), row floor(i n / count) for each i."""
    count = min(count or len(rows), len(rows))
    return rows[np.arange(count) * len(rows) // count]


def borders(name: str, image_size: tuple[int, int], size: int) -> tuple[int, int]:
    """How wide the border is above and below, and on the left and right, of images centred in `size` x `size` pixels.

    Raises InputError, with the dataset's `name`, where it would be negative or not equally wide on both sides.
    """
    height, width = image_size
    both = (size - height, size - width)
    if any(border < 0 or border % 2 for border in both):
        raise InputError(
            f"{name} has images of {height}x{width} pixels, which cannot be centred in {size}x{size}: "
            f"choose a size of at least {max(height, width)} that differs from it by an even number."
        )
    return both[0] // 2, both[1] // 2


def check_size(name: str, size: int, sizes: tuple[int, ...]) -> None:
    """Raises InputError unless the dataset `name`, which can be had in `sizes`, comes in `size` x `size` pixels too."""
    if size not in sizes:
        *others, last = (f"{allowed}x{allowed}" for allowed in sorted(sizes, reverse=True))
        possible = f"{', '.join(others)} or {last}" if others else last
        raise InputError(
            f"{name} was asked for in {size}x{size} pixels, but comes in {possible} only: choose one of these."
        )

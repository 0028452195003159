"""Fashion-MNIST (Xiao, Rasul & Vollgraf, 2017), clothes in MNIST's format: binarized, or in its 256 grey levels."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vnca_jax.data.dataset import Dataset
from vnca_jax.data.mnist_files import MnistFiles, read_split, what_to_do
from vnca_jax.errors import InputError

NAME = "fashion_mnist"
GREY_NAME = "fashion_mnist_grey"
THRESHOLD = 128  # of the pixel values 0..255
FASHION_MNIST = MnistFiles(
    name=NAME,
    subfolders=("fashion_mnist", "fashion-mnist", "raw", "FashionMNIST", "FashionMNIST/raw"),
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    sha256={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    zipped_sha256={
        "train-images-idx3-ubyte": "08dc20ab1689590a0bcd66e874647b6ee8464e2d501b5a3f1f78831db19a3fdc",
        "train-labels-idx1-ubyte": "b0197879cbda89f3dc7b894f9fd52b858e68ea4182b6947c9d8c2b67e5f18dcc",
        "t10k-images-idx3-ubyte": "78dcbbfb5a27efaf1b6c1d616caca68560be8766c5bffcb2791df9273a534229",
        "t10k-labels-idx1-ubyte": "42bd18137a62d5998cdeae52bf3a0676ac6b706f5cf8439b47bb5b151ae3dccf",
    },
    sums={"train": (3_431_114_169, 270_000), "test": (573_469_082, 45_000)},
)


def load(
    *, grey: bool = False, data_dir: Path | None = None, cache_dir: Path | None = None, download: bool = True
) -> Dataset:
    """60,000 training and 10,000 test labelled images of 28x28x1 pixels; a pixel is 1 where it is at least 128 of 255.

    If `grey` they are 28x28x3 levels of 255, the same in all three colours, for a likelihood of colours. Looks where
    `mnist_files.read_split` does. Raises InputError where a file is wrong, or none is found.
    """
    found = [
        read_split(FASHION_MNIST, split, data_dir=data_dir, cache_dir=cache_dir, download=download)
        for split in ("train", "test")
    ]
    train, test = found
    if train is None or test is None:
        raise InputError(
            f"{NAME} was not found and downloads are switched off: {what_to_do(FASHION_MNIST, 'train', 'test')}"
        )
    name, as_pixels = (GREY_NAME, as_colours) if grey else (NAME, binarized)
    pixels = as_pixels(train.images), as_pixels(test.images)
    return Dataset(name, *pixels, train_labels=train.labels, test_labels=test.labels)


def binarized(images: UInt8[np.ndarray, "n h w"]) -> UInt8[np.ndarray, "n h w 1"]:
    """1 where a pixel is at least THRESHOLD."""
    return (images[..., None] >= THRESHOLD).astype(np.uint8)


def as_colours(images: UInt8[np.ndarray, "n h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Grey levels as colours."""
    return np.repeat(images[..., None], 3, axis=-1)

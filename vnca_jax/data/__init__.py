"""Datasets by name."""

from pathlib import Path

from vnca_jax.data import binarized_mnist, celeba, coloured_digits, digits, emoji, fashion_mnist, folder
from vnca_jax.data.dataset import Dataset, borders, check_size, evenly_spread
from vnca_jax.data.labels import labelled
from vnca_jax.errors import InputError, did_you_mean

__all__ = ["DATASETS", "SIZES", "Dataset", "evenly_spread", "labelled", "load", "load_padded"]

# The heights and widths in pixels in which each dataset can be had, the default first.
SIZES = {
    "binarized_mnist": binarized_mnist.IMAGE_SHAPE[:1],
    "celeba": celeba.SIZES,
    "coloured_digits": (8,),
    "digits": (8,),
    "emoji": emoji.SIZES,
    "fashion_mnist": (28,),
    "fashion_mnist_grey": (28,),
    "folder": folder.SIZES,
    "folder_binary": folder.SIZES,
}
DATASETS = tuple(SIZES)


def load(
    name: str,
    *,
    size: int | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    download: bool = True,
) -> Dataset:
    """The dataset called `name`, one of DATASETS, in images of `size` x `size` pixels, one of SIZES[name].

    `data_dir` holds the official files, or your own pictures, `cache_dir` (default $VNCA_CACHE_DIR, else
    ~/.cache/vnca_jax) what is made from them, and `download` allows to fetch missing ones, of MNIST and its like only;
    the digits need none of these. Raises InputError for another name or size, and for files that are missing or wrong.
    """
    name = folder.registered_name(name)
    size = _check(name, size)
    if name == "binarized_mnist":
        return binarized_mnist.load(data_dir=data_dir, cache_dir=cache_dir, download=download)
    if name == "celeba":
        return celeba.load(size=size, data_dir=data_dir, cache_dir=cache_dir)
    if name == "coloured_digits":
        return coloured_digits.load()
    if name == "emoji":
        return emoji.load(size=size, data_dir=data_dir, cache_dir=cache_dir)
    if name in (fashion_mnist.NAME, fashion_mnist.GREY_NAME):
        grey = name == fashion_mnist.GREY_NAME
        return fashion_mnist.load(grey=grey, data_dir=data_dir, cache_dir=cache_dir, download=download)
    if name in (folder.NAME, folder.BINARY_NAME):
        return folder.load(binary=name == folder.BINARY_NAME, size=size, data_dir=data_dir, cache_dir=cache_dir)
    return digits.load()


def load_padded(name: str, image_size: int, *, data_dir: Path | None = None) -> Dataset:
    """The dataset called `name` in images of `image_size` pixels per side: in that size if it can be had, else padded.

    Your own pictures, which come in many sizes, are never padded. Raises InputError as `load` and
    `Dataset.padded` do.
    """
    check_image_size(name, image_size)
    name = folder.registered_name(name)
    own = name in (folder.NAME, folder.BINARY_NAME)
    size = image_size if own or image_size in SIZES.get(name, ()) else None
    return load(name, size=size, data_dir=data_dir).padded(image_size)


def check_image_size(name: str, image_size: int) -> None:
    """Raises InputError, before any file is read, where `load_padded` would because of a size."""
    name = folder.registered_name(name)
    if name in (folder.NAME, folder.BINARY_NAME) or image_size in SIZES.get(name, ()):
        _check(name, image_size)
    else:
        side = _check(name, None)
        borders(name, (side, side), image_size)


def _check(name: str, size: int | None) -> int:
    """`size`, or the default one of the dataset `name`; InputError where there is no such dataset or size."""
    if name not in SIZES:
        known = f"{', '.join(DATASETS[:-1])} and {DATASETS[-1]}"
        raise InputError(f"There is no dataset {name!r}, only {known}{did_you_mean(name, DATASETS)}")
    size = SIZES[name][0] if size is None else size
    check_size(name, size, SIZES[name])
    return size

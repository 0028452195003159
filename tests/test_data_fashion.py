"""Fashion-MNIST from small files in the official layout; never MNIST's in their place."""

import sys

import numpy as np
import pytest
import tiny_binarized_mnist
import tiny_mnist
from test_data_mnist import install_fake_tfds

from vnca_jax import data
from vnca_jax.data import fashion_mnist, mnist
from vnca_jax.data.mnist_files import FILES
from vnca_jax.errors import InputError


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Small official splits of Fashion-MNIST; no way to any data but tmp_path."""
    tiny_binarized_mnist.put_tiny_in_place(tmp_path, monkeypatch)
    splits = tiny_mnist.make_splits(3, {"train": 5, "test": 4})
    splits["test"].images[0, 0, :4] = [127, 128, 0, 255]
    tiny_mnist.put_in_place(monkeypatch, fashion_mnist, "FASHION_MNIST", splits)
    return splits


def assert_holds(dataset, splits) -> None:
    assert dataset.name == "fashion_mnist"
    for split, images, labels in (
        ("train", dataset.train, dataset.train_labels),
        ("test", dataset.test, dataset.test_labels),
    ):
        expected = [
            [[[int(level >= 128)] for level in row] for row in image] for image in splits[split].images.tolist()
        ]
        assert images.dtype == np.uint8 and images.tolist() == expected
        assert labels.tolist() == splits[split].labels.tolist()
    assert dataset.test[0, 0, :4, 0].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("folder", ["given", "given/fashion_mnist", "given/fashion-mnist", "kaggle/x/fashionmnist/raw"])
def test_where_the_files_are(tiny, tmp_path, folder):
    tiny_mnist.write(tmp_path / folder, tiny, zipped="_" in folder)
    assert_holds(data.load("fashion_mnist", data_dir=tmp_path / "given", download=False), tiny)
    assert "fashion_mnist" in data.DATASETS


def test_mnist_is_not_taken_for_it_nor_it_for_mnist(tiny, tmp_path, monkeypatch):
    digits = tiny_mnist.make_splits(0, {"train": 5, "test": 4})  # files of the same names and sizes
    tiny_mnist.put_in_place(monkeypatch, mnist, "MNIST", digits)
    tiny_mnist.write(tmp_path / "kaggle/a", digits)
    with pytest.raises(
        InputError, match="^fashion_mnist was not found and downloads are switched off: put train-images"
    ):
        data.load("fashion_mnist", download=False)
    with pytest.raises(InputError, match="^fashion_mnist was not found and http.* refused"):
        data.load("fashion_mnist")
    tiny_mnist.write(tmp_path / "kaggle/b", tiny)
    assert_holds(data.load("fashion_mnist", download=False), tiny)
    tiny_mnist.assert_same(mnist.read("test"), digits["test"])
    tiny_mnist.write(tmp_path / "flat", digits)
    tiny_mnist.write(tmp_path / "flat" / "fashion-mnist", tiny)
    assert_holds(data.load("fashion_mnist", data_dir=tmp_path / "flat", download=False), tiny)
    tiny_mnist.assert_same(mnist.read("train", data_dir=tmp_path / "flat"), digits["train"])


def test_a_wrong_file_in_a_named_folder(tiny, tmp_path):
    folder = tiny_mnist.write(tmp_path / "given", tiny)
    (folder / FILES["test"][1]).write_bytes((folder / FILES["train"][1]).read_bytes())
    with pytest.raises(
        InputError, match="t10k-labels-idx1-ubyte is not the file of fashion_mnist .* a sub-folder fash"
    ):
        data.load("fashion_mnist", data_dir=folder, download=False)


def test_prepared_tfds_copy(tiny, monkeypatch):
    install_fake_tfds(monkeypatch, "fashion_mnist", tiny)
    assert_holds(data.load("fashion_mnist", download=False), tiny)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match="fashion_mnist was not found"):
        data.load("fashion_mnist", download=False)


def test_grey_levels_as_three_equal_colours(tiny, tmp_path):
    tiny_mnist.write(tmp_path / "given", tiny)
    dataset = data.load("fashion_mnist_grey", data_dir=tmp_path / "given", download=False)
    assert dataset.name == "fashion_mnist_grey"
    for split, images, labels in (
        ("train", dataset.train, dataset.train_labels),
        ("test", dataset.test, dataset.test_labels),
    ):
        assert images.dtype == np.uint8 and images.shape == (*tiny[split].images.shape, 3)
        for colour in range(3):
            np.testing.assert_array_equal(images[..., colour], tiny[split].images)
        np.testing.assert_array_equal(labels, tiny[split].labels)

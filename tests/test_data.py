"""The datasets by numbers, and the order of batches against Python integers."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny_binarized_mnist import SPLITS, sha256

from vnca_jax import data
from vnca_jax.data import binarized_mnist, digits
from vnca_jax.data.order import batch_order
from vnca_jax.errors import InputError


@pytest.fixture(scope="session")
def official_data_dir() -> Path:
    shared = Path(__file__).parents[2] / "shared" / "data"
    if named := os.environ.get("VNCA_DATA_DIR"):
        return Path(named)
    if shared.is_dir():
        return shared
    pytest.skip(f"the official files are not here: $VNCA_DATA_DIR is not set and {shared} does not exist")


def test_official_files(official_data_dir, tmp_path, monkeypatch):
    made = data.load("binarized_mnist", data_dir=official_data_dir, cache_dir=tmp_path)
    monkeypatch.setattr(binarized_mnist, "parse_amat", None)  # from here on only the cache can answer
    cached = data.load("binarized_mnist", data_dir=official_data_dir, cache_dir=tmp_path)
    for dataset in (made, cached):
        train, valid, test = dataset.train[:50_000], dataset.train[50_000:], dataset.test
        assert train.shape == (50_000, 28, 28, 1) and valid.shape == test.shape == (10_000, 28, 28, 1)
        # zcat binarized_mnist_SPLIT.amat.gz | tr -cd 1 | wc -c
        assert [int(images.sum()) for images in (train, valid, test)] == [5_118_041, 1_028_036, 1_038_896]
        # zcat binarized_mnist_SPLIT.amat.gz | head -1 (then tail -1) | tr -cd 01 | sha256sum
        first_and_last = [sha256("".join(map(str, images[i].ravel())).encode())[:16] for images in (train, valid, test)
                          for i in (0, -1)]  # fmt: skip
        assert first_and_last == ["1ead4428e1597592", "e9f7d933c92a2f1e", "6e869a2350c9fad3", "f8aec625b9f2faef",
                                  "403bf03b7dd6c7a3", "6e4385f5fd4a5592"]  # fmt: skip
        for split, images in zip(SPLITS, (train, valid, test), strict=True):
            packed = sorted(map(bytes, np.packbits(images.reshape(-1, 784), axis=1)))
            assert sha256(b"".join(packed)) == binarized_mnist.SORTED_ROWS_SHA256[split]


def test_official_validation_images(official_data_dir, tmp_path):
    """The last 10,000 of the 60,000, whose first and last the test above knows by their hashes."""
    whole = data.load("binarized_mnist", data_dir=official_data_dir, cache_dir=tmp_path).padded(32)
    kept, validation = whole.held_out()
    assert len(kept.train) == 50_000 and int(kept.train.sum()) == 5_118_041
    assert len(validation) == 10_000 and int(validation.sum()) == 1_028_036
    assert kept.test is whole.test


def test_validation_images_of_other_datasets():
    """Every tenth training image, with its label left out too."""
    whole = data.load("digits")
    kept, validation = whole.held_out()
    np.testing.assert_array_equal(validation, whole.train[9::10])
    places = [i for i in range(len(whole.train)) if i % 10 != 9]
    np.testing.assert_array_equal(kept.train, whole.train[places])
    assert whole.train_labels is not None and kept.train_labels is not None
    np.testing.assert_array_equal(kept.train_labels, whole.train_labels[places])


def test_import_is_light():
    program = (
        "import sys, vnca_jax.data; assert not {'tensorflow_datasets', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# Digits, names, padding


def test_digits():
    from sklearn.datasets import load_digits

    values, _ = load_digits(return_X_y=True)
    dataset = data.load("digits")
    assert dataset.name == "digits" and dataset.train.dtype == dataset.test.dtype == np.uint8
    assert dataset.train.shape == (1437, 8, 8, 1) and dataset.test.shape == (360, 8, 8, 1)
    assert (int(dataset.train.sum()), int(dataset.test.sum())) == (29_642, 7_509)
    zero = ["00011000", "00111100", "00100100", "01100100", "00100110", "00100110", "00111100", "00011000"]
    assert dataset.test[0, :, :, 0].tolist() == [[int(pixel) for pixel in row] for row in zero]
    both = np.concatenate([dataset.train, dataset.test]).reshape(1797, 64)
    assert sorted(both.tolist()) == sorted([[int(v >= 8) for v in row] for row in np.asarray(values).tolist()])
    assert np.array_equal(dataset.train, digits.load().train)


ALL = (
    "binarized_mnist, celeba, coloured_digits, digits, emoji, fashion_mnist, fashion_mnist_grey, folder and "
    "folder_binary"
)


def test_unknown_names():
    with pytest.raises(InputError) as error:
        data.load("mnist_binarized")
    expected = f"There is no dataset 'mnist_binarized', only {ALL}; did you mean 'binarized_mnist'?"
    assert str(error.value) == expected
    with pytest.raises(InputError, match=f"^There is no dataset 'x', only {ALL}.$"):
        data.load("x")
    assert ", ".join(data.DATASETS) == ALL.replace(" and ", ", ")


def test_sizes():
    colours = "64x64 or 32x32"
    asked = (("binarized_mnist", 32, "28x28"), ("digits", 0, "8x8"), ("celeba", 128, colours), ("emoji", 63, colours))
    for name, size, sizes in asked:
        with pytest.raises(InputError) as error:
            data.load(name, size=size)
        assert str(error.value) == (
            f"{name} was asked for in {size}x{size} pixels, but comes in {sizes} only: choose one of these."
        )
    assert np.array_equal(data.load("digits", size=8).train, digits.load().train)


def test_padded():
    images = np.array([[[[1], [2]], [[3], [4]]]], np.uint8)
    padded = data.Dataset("four", train=images, test=images[:0]).padded(4)
    assert padded.train[0, :, :, 0].tolist() == [[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]]
    assert padded.name == "four" and padded.test.shape == (0, 4, 4, 1) and padded.train.dtype == np.uint8
    assert padded.padded(4) is padded
    for size in (2, 5):
        with pytest.raises(InputError) as error:
            padded.padded(size)
        assert str(error.value) == (
            f"four has images of 4x4 pixels, which cannot be centred in {size}x{size}: "
            "choose a size of at least 4 that differs from it by an even number."
        )


# The order of batches


order = jax.jit(batch_order, static_argnums=(2, 3, 4))


@functools.cache
def permutation(epoch: int, num_examples: int) -> list[int]:
    return jr.permutation(jr.fold_in(jr.key(3), epoch), num_examples).tolist()


def order_in_python(start_step: int, num_steps: int, batch_size: int, num_examples: int) -> list[list[int]]:
    """The definition for key 3, one image at a time, in integers without bounds."""
    positions = range(start_step * batch_size, (start_step + num_steps) * batch_size)
    images = [permutation(p // num_examples, num_examples)[p % num_examples] for p in positions]
    return [images[i : i + batch_size] for i in range(0, len(images), batch_size)]


@pytest.mark.parametrize(
    ("start_steps", "sizes"),
    [
        ([0, 13, 1_000_000_007], (7, 3, 10)),
        ([0, 3], (5, 5, 10)),
        ([3, 10_000_000], (4, 25, 10)),
        ([2], (3, 1, 1)),
        ([0, 9_999_990], (60, 1024, 1437)),  # no common factor
        ([0, 10_000_000, 2_000_000_000], (3, 1024, 60_000)),  # positions beyond int32
    ],
)
def test_batch_order_is_the_definition(start_steps, sizes):
    for start_step in start_steps:
        batches = order(jr.key(3), jnp.int32(start_step), *sizes)
        assert batches.dtype == jnp.int32
        assert batches.tolist() == order_in_python(start_step, *sizes)


def test_batch_order_outside_jit():
    assert batch_order(jr.key(3), 13, 7, 3, 10).tolist() == order_in_python(13, 7, 3, 10)


def test_epochs_are_different_permutations():
    epochs, others = (order(jr.key(seed), 0, 10, 6, 20).reshape(3, 20).tolist() for seed in (0, 1))
    assert [sorted(epoch) for epoch in epochs] == [list(range(20))] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0] != others[0]


def test_seeking_is_replaying():
    replayed = order(jr.key(5), 0, 21, 3, 10).tolist()
    sought = [batch for start in (0, 7, 14) for batch in order(jr.key(5), start, 7, 3, 10).tolist()]
    assert sought == replayed


def test_batch_order_refuses_sizes():
    for sizes, name in (((0, 1, 1), "num_steps"), ((1, 0, 1), "batch_size"), ((1, 1, -2), "num_examples")):
        with pytest.raises(InputError, match=f"^`{name}` is {min(sizes)} but must be at least 1.$"):
            batch_order(jr.key(0), 0, *sizes)
    with pytest.raises(InputError, match="^1 steps of 1023 out of 4000000 images need .* up to 4092000000, beyond"):
        batch_order(jr.key(0), 0, 1, 1023, 4_000_000)


def test_a_size_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    """Of files that are not there, and which would be looked for otherwise."""
    for name, size, sentence in (
        ("binarized_mnist", 16, "28x28 pixels, which cannot be centred in 16x16: choose a size of at least 28"),
        ("fashion_mnist", 33, "28x28 pixels, which cannot be centred in 33x33: choose a size of at least 28"),
        ("celeba", 16, "64x64 pixels, which cannot be centred in 16x16: choose a size of at least 64"),
    ):
        with pytest.raises(InputError) as error:
            data.load_padded(name, size, data_dir=tmp_path / "nothing")
        assert str(error.value) == f"{name} has images of {sentence} that differs from it by an even number."

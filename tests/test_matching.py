"""The matching against sums one pixel at a time, against every permutation, and on the official files."""

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest

from vnca_jax import data
from vnca_jax.data import labels as labels_module
from vnca_jax.data import matching, mnist
from vnca_jax.data.matching import match
from vnca_jax.errors import InputError


def log_likelihood(x, g) -> float:
    """log p(x | g), nats, in exact sums of Python floats."""
    terms = [level / 255 if pixel else 1 - level / 255 for pixel, level in zip(x.tolist(), g.tolist(), strict=True)]
    return math.fsum(map(math.log, terms)) if all(terms) else -math.inf


def drawn(seed, n, m, pixels, *, extremes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """m grey images, n binary ones drawn from different ones among them, and from which."""
    random = np.random.default_rng(seed)
    grey = np.clip(random.integers(-extremes, 256 + extremes, (m, pixels)), 0, 255).astype(np.uint8)
    source = random.permutation(m)[:n]
    binary = (random.random((n, pixels)) < grey[source] / 255).astype(np.uint8)
    return binary, grey, source


@pytest.mark.parametrize(("extremes", "pixels"), [(0, 40), (20, 40), (400, 30)])
def test_against_a_sum_of_each_pair(extremes, pixels, monkeypatch):
    monkeypatch.setattr(matching, "BLOCK_ENTRIES", 64)  # so that there are several blocks
    monkeypatch.setattr(matching, "BLOCK_PIXELS", 128)
    binary, grey, source = drawn(extremes, 12, 20, pixels, extremes=extremes)
    found = match(binary, grey)
    table = np.array([[log_likelihood(x, g) for g in grey] for x in binary])
    assert found.best.tolist() == table.argmax(axis=1).tolist()
    top = np.sort(table, axis=1)
    np.testing.assert_allclose(found.margin, top[:, -1] - top[:, -2], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.log_likelihood, table[np.arange(12), found.index], rtol=1e-13)
    assert found.is_one_to_one and not found.moved.any() and found.num_tied == 0
    assert (found.index == source).mean() > 0.9
    assert np.isinf(found.margin).any() == (extremes > 0)


def test_a_pixel_written_out():
    grey = np.array([[51, 255, 0], [204, 255, 0], [51, 0, 255]], np.uint8)  # 0.2, 0.8, 0.2
    found = match(np.array([[1, 1, 0], [0, 0, 1]], np.uint8), grey)
    assert found.index.tolist() == [1, 2] and found.best.tolist() == [1, 2]
    np.testing.assert_allclose(found.log_likelihood, [math.log(0.8), math.log(0.8)], rtol=1e-15)
    np.testing.assert_allclose(found.margin, [math.log(0.8 / 0.2), math.inf], rtol=1e-15)


def test_collisions_become_the_likeliest_assignment():
    random = np.random.default_rng(5)
    grey = random.integers(1, 255, (6, 4)).astype(np.uint8)
    binary = random.integers(2, size=(6, 4)).astype(np.uint8)
    binary[1:4] = binary[0]  # the same best for four of them
    found = match(binary, grey)
    table = np.array([[log_likelihood(x, g) for g in grey] for x in binary])
    assert not found.is_one_to_one and found.moved.sum() >= 3
    assert sorted(found.index) == list(range(6)) and found.duplicate_binary >= 3
    kept = [i for i in range(6) if (found.best == found.best[i]).sum() == 1]
    assert found.index[kept].tolist() == found.best[kept].tolist()
    allowed = [p for p in itertools.permutations(range(6)) if all(p[i] == found.best[i] for i in kept)]
    totals = [sum(table[i, p[i]] for i in range(6)) for p in allowed]
    assert table[np.arange(6), found.index].sum() == pytest.approx(max(totals), abs=1e-12)
    np.testing.assert_allclose(found.log_likelihood, table[np.arange(6), found.index], rtol=1e-13)


def test_the_plain_maximum_is_wrong_and_the_assignment_right():
    grey = np.array([[230, 230, 140, 0], [150, 150, 100, 0]], np.uint8)
    binary = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], np.uint8)  # the second was drawn from the darker one
    # (230 * 230 * 115) / (150 * 150 * 155) > 1: the brighter one is the likelier for both
    found = match(binary, grey)
    assert found.best.tolist() == [0, 0] and found.index.tolist() == [0, 1]
    margins = [math.log(230 * 230 * 140 / (150 * 150 * 100)), math.log(230 * 230 * 115 / (150 * 150 * 155))]
    np.testing.assert_allclose(found.margin, margins, rtol=1e-12)
    assert found.moved.tolist() == [False, True] and not found.is_one_to_one


def test_duplicates_tie():
    binary, grey, _ = drawn(1, 5, 8, 50, extremes=50)
    grey = np.concatenate([grey, grey[:3]])
    twice = np.concatenate([binary, binary[:1]])
    found = match(twice, grey)
    assert (found.duplicate_binary, found.duplicate_grey) == (1, 3)
    tied = [np.count_nonzero((grey == grey[best]).all(axis=1)) > 1 for best in found.best]
    assert (found.margin == 0).tolist() == tied and found.num_tied == sum(tied) > 0
    assert all(best < 8 for best in found.best)  # the first of those that tie
    assert len(set(found.index.tolist())) == 6


def test_fewest_impossible_pixels_where_none_is_possible():
    grey = np.array([[0, 0, 0, 0], [0, 0, 0, 100], [0, 255, 0, 255]], np.uint8)
    found = match(np.array([[1, 0, 0, 1]], np.uint8), grey)
    assert found.best.tolist() == [1] and found.log_likelihood.tolist() == [-math.inf]
    assert found.margin.tolist() == [math.inf]


def test_more_binary_than_grey_images():
    with pytest.raises(
        InputError, match="^2 binary images were given for 1 grey ones; give at least as many grey ones.$"
    ):
        match(np.zeros((2, 4), np.uint8), np.zeros((1, 4), np.uint8))


@pytest.fixture(scope="module")
def official_data_dir() -> Path:
    """A folder with the official files of binarized MNIST and of MNIST's test split."""
    shared = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("VNCA_DATA_DIR", shared))
    wanted = [("binarized_mnist", f"binarized_mnist_{split}.amat") for split in ("train", "valid", "test")]
    wanted += [("mnist", "t10k-images-idx3-ubyte"), ("mnist", "t10k-labels-idx1-ubyte")]
    for subfolder, name in wanted:
        if not [*folder.glob(f"{name}*"), *folder.glob(f"{subfolder}/{name}*")]:
            pytest.skip(f"{name} is neither in {folder} nor in its sub-folder {subfolder}; set $VNCA_DATA_DIR")
    return folder


def test_official_files(official_data_dir, tmp_path, monkeypatch):
    binary = data.load("binarized_mnist", data_dir=official_data_dir, cache_dir=tmp_path)
    calls = []
    monkeypatch.setattr(labels_module, "match", lambda *rows: calls.append(match(*rows)) or calls[-1])
    labelled = data.labelled(binary, data_dir=official_data_dir, cache_dir=tmp_path, download=False)
    found = calls[0]
    labels = labelled.test_labels
    assert labels is not None
    # zcat t10k-labels-idx1-ubyte.gz | tail -c +9 | od -An -v -t u1 -w1 | sort | uniq -c
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # What the matching knows nothing of: the official file is sorted by digit.
    assert (np.diff(labels.astype(int)) >= 0).all()
    grey = mnist.read("test", data_dir=official_data_dir, cache_dir=tmp_path)
    assert grey is not None
    assert (np.diff(grey.labels[found.best].astype(int)) >= 0).all()  # without the assignment too
    assert (found.num_tied, found.duplicate_binary, found.duplicate_grey) == (0, 0, 0)
    assert not found.is_one_to_one and found.moved.sum() == 8 and len(set(found.index.tolist())) == 10_000
    assert int(np.isinf(found.margin).sum()) == 6464
    rows = binary.test.reshape(10_000, 784)
    for i in [*np.argsort(found.margin)[:20], *np.flatnonzero(found.moved), *range(0, 10_000, 997)]:
        g = grey.images[found.index[i]].ravel()
        np.testing.assert_allclose(found.log_likelihood[i], log_likelihood(rows[i], g), rtol=1e-12, atol=1e-12)
    assert found.margin.min() == pytest.approx(0.05067956, abs=1e-8)
    monkeypatch.setattr(labels_module, "match", None)
    padded = data.labelled(binary.padded(32), data_dir=tmp_path, cache_dir=tmp_path, download=False)  # from the cache
    assert padded.test_labels is not None and padded.test_labels.tolist() == labels.tolist()
    assert padded.test.shape == (10_000, 32, 32, 1)

"""Measures of separation and ways through the latent space, against brute force and closed forms."""

import numpy as np
import pytest

from experiments.interpolation import spherical, straight
from experiments.latent_metrics import (
    NEIGHBOURS,
    compare,
    difference,
    interval,
    neighbour_accuracy,
    planes,
    probe_accuracy,
    silhouette,
)


def clusters(num=200, apart=6.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(10, size=num)
    return (rng.normal(size=(num, 5)) + apart * rng.normal(size=(10, 5))[labels]).astype(np.float32), labels


def test_neighbours_against_brute_force():
    points, labels = clusters(apart=1.0)
    points[1], labels[1] = points[0], labels[0]  # twins: neither may be its own neighbour
    points = points.astype(np.float64)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    votes = labels[np.argsort(distances, axis=1)[:, :NEIGHBOURS]]
    expected = [np.bincount(row, minlength=10).argmax() == label for row, label in zip(votes, labels, strict=True)]
    assert neighbour_accuracy(points, labels) == pytest.approx(np.mean(expected), abs=1e-12)
    assert 0.2 < np.mean(expected) < 0.9


def test_silhouette_of_four_points_by_hand():
    points = np.array([[0.0], [1.0], [10.0], [12.0]])
    # a = 1 and 1, then 2 and 2; b = 11 and 10, then 9.5 and 11.5
    expected = np.mean([10 / 11, 9 / 10, 7.5 / 9.5, 9.5 / 11.5])
    assert silhouette(points, np.array([3, 3, 7, 7])) == pytest.approx(expected, rel=1e-12)


def test_probe_is_tested_on_other_images():
    rng = np.random.default_rng(1)
    labels = np.arange(300) % 10
    noise = rng.normal(size=(300, 200))  # so many directions that a probe fits its own images by heart
    assert probe_accuracy(noise, labels, seed=0) < 0.2
    points, labels = clusters()
    assert probe_accuracy(points, labels, seed=0) > 0.95


def test_planes_keep_what_is_near_together():
    points, labels = clusters(num=120)
    found = planes(points, perplexity=10.0, seed=0)
    assert neighbour_accuracy(found["t-SNE plane"].astype(float), labels) > 0.95
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(abs(found["PCA plane"]), abs(centred @ axes[:2].T), rtol=1e-3, atol=1e-3)


def test_interval_by_hand():
    # mean 3, standard deviation sqrt(2.5), Student's t with 4 degrees of freedom at 97.5 %: 2.7764451
    mean, half = interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert (mean, half) == (3.0, pytest.approx(2.7764451051977987 * np.sqrt(2.5 / 5), rel=1e-9))


def test_pairs_take_out_what_both_share():
    x, shift = np.array([1.0, 5.0, 9.0]), np.array([0.1, 0.2, 0.3])
    assert difference(x + shift, x, paired=True) == (pytest.approx(0.2), pytest.approx(interval(shift)[1], rel=1e-9))
    mean, half = difference(x + shift, x, paired=False)
    # equal variances nearly: sqrt(16.81/3 + 16/3) times Student's t at 4 (3.998) degrees of freedom
    assert (mean, half) == (pytest.approx(0.2), pytest.approx(2.7764 * np.sqrt((4.1**2 + 16) / 3), rel=1e-3))


def test_intervals_are_over_models_once_there_are_several():
    draws = [{"VNCA": [{"m": 1.0 + d}, {"m": 3.0 + d}], "baseline": [{"m": 0.0}, {"m": 1.0}]} for d in (0.0, 0.2)]
    assert compare(draws)["m"]["VNCA"] == interval(np.array([1.1, 3.1]))
    draws = [{"VNCA": [{"m": v}], "baseline": [{"m": b}, {"m": b + 1}]} for v, b in ((1.0, 0.0), (3.0, 1.0))]
    row = compare(draws)["m"]
    assert row["VNCA"] == interval(np.array([1.0, 3.0])) and row["baseline"] == interval(np.array([0.5, 1.5]))
    assert row["difference"] == interval(np.array([0.5, 1.5]))


def test_ways():
    start, end = np.array([[2.0, 0.0], [1.0, 1.0]], np.float32), np.array([[0.0, 2.0], [1.0, 1.0]], np.float32)
    np.testing.assert_allclose(straight(start, end, 0.25), [[1.5, 0.5], [1, 1]], rtol=1e-6)
    np.testing.assert_allclose(spherical(start, end, 0.5), [[2**0.5, 2**0.5], [1, 1]], rtol=1e-6)
    for way in (straight, spherical):
        np.testing.assert_allclose(way(start, end, 0.0), start, atol=1e-6)
        np.testing.assert_allclose(way(start, end, 1.0), end, atol=1e-6)

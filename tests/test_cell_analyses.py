"""What is read from single cells, and what damage does while an image grows, against sums and models by hand."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from tiny_training import tiny_vnca

from experiments import cell_probe
from experiments.cell_channels import variance_parts
from experiments.damage_during_growth import damaged_growths, difference, moments
from vnca_jax.models import ConvVAE


def test_a_probe_finds_a_planted_direction():
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 10
    cells = rng.normal(size=(600, 12)) * np.geomspace(0.01, 100, 12)  # channels of very different scales
    cells[np.arange(600), labels] += 8 * np.geomspace(0.01, 100, 12)[labels]
    probe = cell_probe.fit(cells[:400], labels[:400])
    found = cell_probe.read(probe, jnp.asarray(cells[400:, None, None], jnp.float32), jnp.asarray(labels[400:]))
    assert np.mean(found.is_right) > 0.99 and np.mean(found.probability) > 0.9
    np.testing.assert_array_equal(found.digit[:, 0, 0] == labels[400:], found.is_right[:, 0, 0] == 1)


def test_a_probe_says_what_scikit_learn_says():
    rng = np.random.default_rng(1)
    cells, labels = rng.normal(3, 2, size=(300, 4)), rng.integers(3, 7, size=300)  # six digits never come
    probe = cell_probe.fit(cells, labels)
    logits = cells @ probe.weight + probe.bias
    scaled = (cells - cells.mean(axis=0)) / cells.std(axis=0)
    expected = LogisticRegression(C=cell_probe.STRENGTH, max_iter=300, tol=1e-3).fit(scaled, labels)
    expected = expected.predict_proba(scaled)
    np.testing.assert_allclose(np.asarray(jax.nn.softmax(logits))[:, 3:7], expected, atol=1e-5)
    assert np.all(np.asarray(jax.nn.softmax(logits))[:, [0, 1, 2, 7, 8, 9]] == 0)


def test_cells_at_places():
    cells = jnp.arange(2 * 2 * 3).reshape(2, 2, 3, 1).astype(jnp.float32)
    places = jnp.array([[0.0, 0.99], [0.17, 0.5]])
    np.testing.assert_array_equal(cell_probe.some_cells(cells, places)[..., 0], [[0, 5], [7, 9]])


def test_neighbourhoods_of_a_corner():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    found = cell_probe.neighbourhoods(x)
    np.testing.assert_array_equal(found[0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 3, 4])
    np.testing.assert_array_equal(found[0, 1, 1], np.arange(9))


def test_accuracy_counts_an_image_once_and_splits_its_parts():
    right = np.zeros((3, 2, 2), np.float32)
    right[0], right[2, 0] = 1, 1  # image 5 twice: all right, none right; image 8: its upper row
    step = cell_probe.Readings(jnp.zeros((3, 2, 2), int), jnp.asarray(right), jnp.asarray(right))
    on_digit = np.zeros((3, 2, 2), bool)
    on_digit[:, 0, 0] = True
    [found] = cell_probe.accuracies([step], np.array([5, 5, 8]), on_digit)
    assert found["all"] == (0.5, 0.0)
    assert found["on the digit"] == (0.75, pytest.approx(0.25))
    assert found["around it"] == (pytest.approx((1 / 2 + 1 / 3) / 2), pytest.approx(1 / 12))


def test_probes_never_see_the_held_out_images():
    """Labels at random: whoever fits on the images that it reads is right more often than by chance."""
    model = tiny_vnca()
    x = np.random.default_rng(0).integers(2, size=(80, model.image_size, model.image_size, 1)).astype(np.float32)
    labels = np.random.default_rng(1).integers(10, size=80)
    readings, held_out = cell_probe.probe(model, x, labels, num_splits=4, cells_per_image=2, seed=0)
    assert [len(set(part)) for part in np.split(held_out, 4)] == [20] * 4
    for step in readings:
        np.testing.assert_array_equal(step.is_right, step.digit == labels[held_out, None, None])
        assert step.is_right.mean() < 0.25


def test_variance_parts_of_sums_by_hand():
    rng = np.random.default_rng(0)
    of_images, of_places = rng.normal(size=(50, 1, 1, 3)), 2 * rng.normal(size=(1, 4, 5, 3))
    of_images, of_places = of_images - of_images.mean(axis=0), of_places - of_places.mean(axis=(1, 2))
    total = of_images.var(axis=0).sum() + of_places.var(axis=(1, 2)).sum()
    images, places, both, directions = variance_parts((of_images + of_places).astype(np.float32))
    assert (images, places) == (
        pytest.approx(of_images.var(axis=0).sum() / total, rel=1e-5),
        pytest.approx(of_places.var(axis=(1, 2)).sum() / total, rel=1e-5),
    )
    assert both == pytest.approx(0, abs=1e-6) and 1 <= directions <= 3
    assert variance_parts(rng.normal(size=(100, 3, 3, 1)) * np.array([1.0, 0.1]))[3] == 1


def test_difference_by_halves():
    intact, damaged = np.zeros((1, 2, 4, 1)), np.zeros((1, 2, 4, 1))
    damaged[0, 0, 3], damaged[0, 1, 0] = 0.8, 0.4
    found = difference(intact, damaged)
    assert [found[part].item() for part in ("all", "damaged half", "other half")] == pytest.approx([15, 20, 10])


def test_damage_before_each_stage_of_the_automaton():
    model = tiny_vnca()
    z = jr.normal(jr.key(0), (2, model.latent_size))
    found = damaged_growths(model, z)
    np.testing.assert_allclose(found[:, 0], model.likelihood.mean(model.decode(z)), rtol=1e-6)
    cells = model.stage(0, model.seed(z)).at[:, :, 1:].set(0)  # the right column of 2x2 cells
    for k in range(1, model.num_stages):
        cells = model.stage(k, cells)
    np.testing.assert_allclose(found[:, 2], model.likelihood.mean(model.outputs(cells)), rtol=1e-6)
    assert found.shape[1] == model.num_stages + 1 == len(moments(model)) + 1
    assert moments(model) == ["before the first step, 2x2", "before doubling 1, 2x2"]


@pytest.mark.long
def test_damage_before_each_convolution_of_the_baseline():
    model = ConvVAE(image_size=8, latent_size=4, encoder_width=4, encoder_depth=2, key=jr.key(0))
    z = jr.normal(jr.key(1), (2, 4))
    found = damaged_growths(model, z)
    hidden = model.stage(1, model.stage(0, model.seed(z)).at[:, :, 2:].set(0))
    np.testing.assert_allclose(found[:, 2], model.likelihood.mean(model.outputs(hidden)), rtol=1e-6)
    assert moments(model) == ["before doubling 1, 2x2", "before doubling 2, 4x4"]

"""Stability and healing measured, against the steps, damages and likelihoods of one image at a time."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training

from vnca_jax import automaton, parallel, resilience

IMAGES = tiny_training.IMAGES[:3, 2:6, 2:6]
KEY = jr.key(11)


def by_hand(model, x, cells):
    """Wrong pixels and log p(x|cells) of one image, in float64, from the cells' first channel."""
    logits = np.asarray(cells[..., 0], np.float64)
    x = x[..., 0].astype(np.float64)
    return ((logits > 0) != x).mean(), -np.logaddexp(0, (1 - 2 * x) * logits).sum()


@pytest.mark.long
def test_measure():
    model = tiny_training.tiny_nondoubling(num_steps=3)
    found = resilience.measure(model, IMAGES, 7, key=KEY, mesh=parallel.make_mesh(1))
    noise_key, square_key, _ = jr.split(KEY, 3)
    grow = jax.jit(lambda cells, num_steps: model.steps(cells, num_steps, keep=True), static_argnums=1)
    for i, image in enumerate(IMAGES):
        x = jnp.asarray(image, jnp.float32)
        mean, log_variance = model.encode(x)
        z = mean + jnp.exp(log_variance / 2) * jr.normal(jr.fold_in(noise_key, i), (4,))
        states = jnp.concatenate([model.seed(z)[None], grow(model.seed(z), 7)])
        masks = {"square": automaton.square(4, 4, key=jr.fold_in(square_key, i)), "right half": jnp.arange(4) >= 2}
        curves: list = [(found.growth, states)]
        for name, mask in masks.items():
            damaged = jnp.where(jnp.broadcast_to(mask, (4, 4))[..., None], 0, states[3])
            curves.append((found.healing[name], [damaged, *grow(damaged, 3)]))
        for readings, cells in curves:
            expected = np.array([by_hand(model, image, state) for state in cells])
            assert readings.pixel_error.shape == (len(cells), 3)
            np.testing.assert_allclose(readings.pixel_error[:, i], expected[:, 0], atol=1e-7)
            np.testing.assert_allclose(readings.log_px_given_z[:, i], expected[:, 1], rtol=2e-6)


def test_more_images_than_fit_at_once(monkeypatch):
    """In parts of two, the last one filled up, the readings are those of all at once."""
    model = tiny_training.tiny_nondoubling()
    mesh = parallel.make_mesh(1)
    at_once = resilience.measure(model, IMAGES, 4, key=KEY, mesh=mesh)
    monkeypatch.setattr(resilience, "IMAGES_AT_ONCE", 2)
    in_parts = resilience.measure(model, IMAGES, 4, key=KEY, mesh=mesh)
    for a, b in zip(jax.tree.leaves(at_once), jax.tree.leaves(in_parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_masks_are_drawn_anew_at_each_step():
    """With an update probability of 1/2 and u(z) = z, following a state draws different cells in different steps."""
    model = tiny_training.tiny_nondoubling(update_probability=0.5)
    cells = jnp.ones((1, 4, 4, 4))
    final, _ = jax.jit(lambda model, x, cells: resilience.follow(model, x, cells, 8, key=KEY))(
        model, jnp.zeros((1, 4, 4, 1)), cells
    )
    changed = (np.asarray(final) != 1).any(axis=-1).mean()
    assert changed == 1  # were the same half drawn 8 times, the other half would still be as it was

"""Models of colour images: what their losses, files, evaluation and pool make of levels from 0 to 255."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training
from test_discretized_logistic_mixture import log_prob_by_formula

from vnca_jax import bounds, losses, parallel, pool
from vnca_jax.checkpoint import export_model, import_model
from vnca_jax.likelihoods import DiscretizedLogisticMixture


@pytest.mark.long
def test_losses_take_levels(tmp_path):
    """A colour model's losses see level / 255, have finite gradients, and its file gives the same model back."""
    model = tiny_training.tiny_vnca(image_channels=3, num_mixtures=1, latent_size=10)
    model = jax.tree.map(lambda leaf: leaf / 2, model)  # so that no probability is below float64's smallest number
    levels = np.random.default_rng(4).integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
    batch = losses.Batch(jnp.asarray(levels, jnp.float32), jnp.arange(4), chunk_size=2)
    x = jnp.asarray(levels / 255, jnp.float32)

    @jax.jit
    def compute(model):
        loss = losses.elbo_loss().apply
        (value, (_, terms)), gradient = jax.value_and_grad(loss, has_aux=True)(model, None, batch, jr.key(0))
        mean, log_variance = model.encode(x)
        noise = bounds.sample_noise(batch.keys(jr.key(0)), model.latent_size)
        return value, terms, gradient, model.decode(bounds.reparameterize(mean, log_variance, noise))

    value, terms, gradient, parameters = compute(model)
    by_formula = log_prob_by_formula(parameters, levels.astype(int), 1).sum(axis=(1, 2))
    np.testing.assert_allclose(terms["log_px_given_z"], by_formula.mean(), rtol=2e-6)
    np.testing.assert_allclose(value, terms["kl"] - terms["log_px_given_z"], rtol=1e-6)
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(gradient))
    export_model(tmp_path / "model.eqx", model)
    imported, _ = import_model(tmp_path)
    assert jax.tree.structure(imported) == jax.tree.structure(model)
    assert imported.likelihood == DiscretizedLogisticMixture(1)
    np.testing.assert_array_equal(compute(imported)[0], value)


def test_the_pool_keeps_levels():
    """What a step puts in the pool are the batch's images, in levels, and they come out as such."""
    model = tiny_training.tiny_nondoubling(image_channels=3, num_mixtures=1, latent_size=10)
    levels = np.random.default_rng(5).integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
    batch = losses.Batch(jnp.asarray(levels, jnp.float32), jnp.arange(4))

    def step(model, carry, batch):
        return losses.pool_loss().apply(model, carry, batch, jr.key(0))

    placed = (parallel.REPLICATED,) * 3
    run = jax.shard_map(
        step, mesh=parallel.make_mesh(1), in_specs=placed, out_specs=parallel.REPLICATED, check_vma=False
    )
    value, (carry, _) = jax.jit(run)(model, pool.empty(4, (4, 4, 3), 10), batch)
    assert np.isfinite(value)
    assert {image.tobytes() for image in np.asarray(carry.images)} == {image.tobytes() for image in levels}

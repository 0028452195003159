"""A loss over chunks against the same loss at once; the ELBO's loss against the bound's terms by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_gaussian import POSTERIOR, LinearGaussian, S, W, images, log_normal

from vnca_jax import bounds, losses, remat
from vnca_jax.compute import Compute

VARIANCE = np.array([0.2, 0.9])
N = 6


def make_model(to_mean=1.2 * POSTERIOR, **changes):
    return LinearGaussian(to_mean, np.log(VARIANCE), **changes)


def examples():
    """Images and the noise of each."""
    noise = np.random.default_rng(0).normal(size=(N, 2))
    return jnp.asarray(images(N)), jnp.asarray(noise, jnp.float32)


def elbo_terms(x, noise, to_mean=1.2 * POSTERIOR):
    """log p(x|z) and KL of each image, in float64."""
    x, noise = (np.asarray(array, np.float64).reshape(len(array), -1) for array in (x, noise))
    mean = x @ to_mean
    log_px = log_normal(x, (mean + np.sqrt(VARIANCE) * noise) @ W.T, np.full(3, S**2))
    return log_px, (mean**2 + VARIANCE - 1 - np.log(VARIANCE)).sum(axis=1) / 2


def gradient_by_differences(function, at, step=1e-4):
    gradient = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        shift = np.zeros_like(at)
        shift[place] = step
        gradient[place] = (function(at + shift) - function(at - shift)) / (2 * step)
    return gradient


def negative_elbo(model, chunk):
    terms = bounds.elbo(model, *chunk)
    return -terms.elbo.mean(), terms


@pytest.fixture(scope="module")
def gradient_at_once():
    return jax.jit(jax.grad(lambda model: negative_elbo(model, examples())[0]))(make_model())


@pytest.mark.parametrize(("chunk_size", "used"), [(1, 1), (2, 2), (5, 3), (99, 6)])
def test_mean_over_chunks(chunk_size, used, gradient_at_once):
    """Value, terms in the order of the examples, and gradient are those of all examples at once.

    The gradient reaches the encoder's weights through the posterior, and the decoder's through the model.
    """
    sizes = []

    def chunk_loss(model, posterior, chunk):
        sizes.append(len(chunk[0]))
        terms = bounds.elbo_of_posterior(model, *posterior, *chunk)
        return -terms.elbo.mean(), terms

    def tripled_mean(model):
        posterior = model.encode(examples()[0])
        value, terms = losses.mean_over_chunks(chunk_loss, model, posterior, examples(), chunk_size)
        return 3 * value, terms

    model = make_model()
    (value, terms), gradient = jax.jit(jax.value_and_grad(tripled_mean, has_aux=True))(model)
    assert set(sizes) == {used}
    log_px, kl = elbo_terms(*examples())
    np.testing.assert_allclose(value, -3 * (log_px - kl).mean(), rtol=2e-6)
    for found, expected in zip(terms, (log_px - kl, log_px, kl), strict=True):
        np.testing.assert_allclose(found, expected, rtol=5e-6)
    for found, expected in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradient_at_once), strict=True):
        np.testing.assert_allclose(found, 3 * expected, rtol=0, atol=5e-6 * np.abs(expected).max())
    expected = gradient_by_differences(
        lambda to_mean: 3 * np.subtract(*elbo_terms(*examples(), to_mean)[::-1]).mean(), 1.2 * POSTERIOR
    )
    np.testing.assert_allclose(gradient.to_mean, expected, rtol=0, atol=5e-6 * np.abs(expected).max())
    assert jax.jit(lambda model: tripled_mean(model)[0])(model) == pytest.approx(float(value), rel=1e-6)


@pytest.mark.parametrize(("share", "used"), [(0.01, 1), (2, 2), (3.99, 3), (5, 3), (6, 6)])
@pytest.mark.parametrize("what", ["kept_bytes", "cache_bytes"])
def test_chunk_that_suits(what, share, used, monkeypatch):
    """As many examples as a device may keep, or as its cache holds of one operation, lowered to a divisor of six."""
    monkeypatch.setattr(remat, "OF_WEIGHTS", 0)
    sizes = []

    def chunk_loss(model, _, chunk):
        sizes.append(len(chunk[0]))
        return negative_elbo(model, chunk)

    each = remat.kept_bytes(negative_elbo, make_model(), examples()) if what == "kept_bytes" else 4 * (3 + 2)
    room: Any = {"cache_bytes": 1 << 20} | {what: int(share * each)}
    model = make_model(compute=Compute("float32", "lax", **room))
    value, _ = jax.eval_shape(lambda: losses.mean_over_chunks(chunk_loss, model, (), examples(), None))
    assert (value.shape, sizes[-1]) == ((), used)


def test_keys_depend_on_the_index_alone():
    def keys(index, seed=0):
        index = jnp.asarray(index, jnp.int32)
        batch = losses.Batch(jnp.full((len(index), 1, 3, 1), float(len(index))), index)
        return np.asarray(jr.key_data(batch.keys(jr.key(seed))))

    whole = keys(range(8))
    assert len(np.unique(whole, axis=0)) == 8
    np.testing.assert_array_equal(keys([5, 2]), whole[[5, 2]])
    np.testing.assert_array_equal(whole[3], jr.key_data(jr.fold_in(jr.key(0), 3)))
    assert (keys(range(8), seed=1) != whole).any(axis=1).all()


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_elbo_loss(chunk_size):
    """-(log p(x|z) - beta KL), the mean over the batch, with noise from each image's own key; the carry as it was."""
    beta, key = 2.5, jr.key(1)
    x, _ = examples()
    batch = losses.Batch(x, jnp.arange(N)[::-1], chunk_size=chunk_size)
    loss = losses.elbo_loss(beta=beta)
    value, (carry, terms) = jax.jit(lambda batch, key: loss.apply(make_model(), jnp.float32(7), batch, key))(batch, key)
    log_px, kl = elbo_terms(x, bounds.sample_noise(batch.keys(key), 2))
    np.testing.assert_allclose(value, -(log_px - beta * kl).mean(), rtol=2e-6)
    assert carry == 7
    assert set(terms) == {"log_px_given_z", "kl"}
    np.testing.assert_allclose(terms["log_px_given_z"], log_px.mean(), rtol=2e-6)
    np.testing.assert_allclose(terms["kl"], kl.mean(), rtol=2e-6)

"""The bounds against an exact log p(x), numerical integrals and float64, on a model where all of it is known."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_gaussian import COVARIANCE, IMAGE_SHAPE, POSTERIOR, PRECISION, LinearGaussian, S, W, images, log_normal

from vnca_jax import bounds
from vnca_jax.models import VAE

WRONG_MEAN = POSTERIOR + np.array([[0.3, -0.2], [0, 0.1], [-0.3, 0.3]])
WRONG_VARIANCE = np.array([0.2, 0.9])


def wrong_model():
    return LinearGaussian(WRONG_MEAN, np.log(WRONG_VARIANCE))


def exact_log_px(x):
    """log N(x; 0, W W^T + s^2 I), in float64."""
    x = x.reshape(len(x), 3).astype(np.float64)
    squares = (x @ np.linalg.inv(COVARIANCE) * x).sum(axis=1)
    return -0.5 * (squares + np.log(np.linalg.det(2 * np.pi * COVARIANCE)))


def log_weights(x, noise):
    """log p(x|z) and log p(x|z) p(z) / q(z|x) under the wrong posterior, `(K, n)` each, in float64."""
    x = x.reshape(len(x), 3).astype(np.float64)
    mean = x @ WRONG_MEAN
    z = mean + np.sqrt(WRONG_VARIANCE) * noise
    log_px = log_normal(x, z @ W.T, np.full(3, S**2))
    return log_px, log_px + log_normal(z, 0, np.ones(2)) - log_normal(z, mean, WRONG_VARIANCE)


def kl_of_normals(mean, variance, other_mean, other_variance):
    ratio = variance / other_variance
    return 0.5 * (ratio - 1 - np.log(ratio) + (mean - other_mean) ** 2 / other_variance).sum(axis=-1)


def test_exact_posterior_gives_the_exact_value():
    """All weights are p(x), so one sample or many, in chunks of any size, the bound is log p(x)."""
    x = images(4)

    @jax.jit
    def iwelbos(x, noise):
        model = LinearGaussian()
        sizes = ((1, 1), (6, 1), (6, 2), (6, 3), (6, 6))
        return [bounds.iwelbo(model, x, lambda k: noise[k], num_samples=k, chunk_size=c).iwelbo for k, c in sizes]

    noise = np.random.default_rng(1).normal(size=(6, 4, 2)).astype(np.float32)
    expected = exact_log_px(x)
    assert np.ptp(expected) > 1
    for found in iwelbos(x, noise):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_brute_force():
    """The log-mean-exp of the weights of the same noise, and the ELBO beside it, for each size of a chunk."""
    x = images(5)
    noise = np.random.default_rng(2).normal(size=(12, 5, 2)).astype(np.float32)

    @jax.jit
    def iwelbos(x, noise):
        model = wrong_model()
        return [bounds.iwelbo(model, x, lambda k: noise[k], num_samples=12, chunk_size=c) for c in (1, 4, 12)]

    log_px, log_weight = log_weights(x, noise.astype(np.float64))
    mean = x.reshape(5, 3).astype(np.float64) @ WRONG_MEAN
    kl = kl_of_normals(mean, WRONG_VARIANCE, 0, 1)
    for found in iwelbos(x, noise):
        np.testing.assert_allclose(found.iwelbo, np.log(np.exp(log_weight).mean(axis=0)), rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.log_px_given_z, log_px.mean(axis=0), rtol=2e-6)
        np.testing.assert_allclose(found.kl, kl, rtol=2e-6)
        np.testing.assert_allclose(found.elbo, log_px.mean(axis=0) - kl, rtol=2e-6)


def test_wrong_posterior_bounds_from_below():
    """With one sample the mean is log p(x) - KL(q || posterior); it grows with K towards log p(x) and stays below."""
    n = 4000
    x = np.repeat(images(1), n, axis=0)
    exact = exact_log_px(x)[0]
    noise = np.random.default_rng(3).normal(size=(64, n, 2)).astype(np.float32)

    @jax.jit
    def iwelbos(x, noise):
        model = wrong_model()
        return [bounds.iwelbo(model, x, lambda k: noise[k], num_samples=k, chunk_size=k) for k in (1, 8, 64)]

    found = [np.asarray(terms.iwelbo, np.float64) for terms in iwelbos(x, noise)]
    means = np.array([values.mean() for values in found])
    standard_errors = np.array([values.std() / np.sqrt(n) for values in found])
    flat = x[0].reshape(3).astype(np.float64)
    gap = kl_of_normals(flat @ WRONG_MEAN, WRONG_VARIANCE, flat @ POSTERIOR, 1 / PRECISION)
    assert gap > 1
    assert abs(means[0] - (exact - gap)) < 4 * standard_errors[0]
    assert (np.diff(means) > 5 * standard_errors[:-1]).all()
    assert (means < exact + 3 * standard_errors).all()
    assert exact - means[-1] < gap / 10


class LogWeight(eqx.Module):
    """`log_px(z, x)` of one number each."""

    log_px: Callable = eqx.field(static=True)

    def log_prob(self, outputs, x):
        return self.log_px(outputs[..., 0, 0, 0], x[..., 0, 0, 0])


class PriorIsPosterior(VAE):
    """One latent and q(z|x) = p(z), so that a log-weight is its likelihood's, z the noise of the sample."""

    likelihood: Any
    sizes: Any = eqx.field(static=True, default=None)
    compute: Any = eqx.field(static=True, default=None)

    def encode(self, x):
        return jnp.zeros((len(x), 1)), jnp.zeros((len(x), 1))

    def decode(self, z):
        return z[..., None, None]


def test_extreme_weights():
    """Log-weights of +-1e4, in any order: no overflow, and the largest one's value."""
    noise = np.array([[1, -1, -1, 1, -1], [1, -1, 1, -1, -1], [1, -1, -1, -1, 1], [1, -1, -1, 0.5, 1]], np.float32)
    x = np.full((5, 1, 1, 1), 1e4, np.float32)

    @jax.jit
    def iwelbos(x, noise):
        model = PriorIsPosterior(likelihood=LogWeight(lambda z, x: z * x))
        return [bounds.iwelbo(model, x, lambda k: noise[k][:, None], num_samples=4, chunk_size=c) for c in (1, 2, 4)]

    expected = np.logaddexp.reduce(noise.astype(np.float64) * 1e4, axis=0) - np.log(4)
    assert expected.round(2).tolist() == [10000, -10000, 9998.61, 9998.61, 9999.31]
    for found in iwelbos(x, noise):
        np.testing.assert_allclose(found.iwelbo, expected, rtol=0, atol=3e-3)  # float32 has steps of 1e-3 at 1e4
        np.testing.assert_allclose(found.log_px_given_z, noise.mean(axis=0) * 1e4, rtol=1e-6)


def test_samples_of_probability_zero():
    """log 1/K sum of zeros and ones, whichever come first; -inf if all are zeros."""
    noise = jnp.asarray([[-1, 1, -1], [1, -1, -1]], jnp.float32)
    x = jnp.zeros((3, 1, 1, 1))
    model = PriorIsPosterior(
        likelihood=LogWeight(lambda z, x: jnp.where(z > 0, 0.0, -jnp.inf))
    )  # p(x|z) is 1 where z > 0, else 0
    for chunk_size in (1, 2):
        found = bounds.iwelbo(model, x, lambda k: noise[k][:, None], num_samples=2, chunk_size=chunk_size).iwelbo
        np.testing.assert_allclose(found, [-np.log(2), -np.log(2), -np.inf], rtol=1e-6)


def test_chunks_must_divide_the_samples():
    noise = jnp.zeros((4, 1, 2))
    with pytest.raises(ValueError, match="chunk_size 3 must divide num_samples 4"):
        bounds.iwelbo(LinearGaussian(), jnp.asarray(images(1)), lambda k: noise[k], num_samples=4, chunk_size=3)


def test_elbo():
    """By hand, with beta: the sample, the likelihood, the KL."""
    x = images(3)
    noise = np.random.default_rng(4).normal(size=(3, 2)).astype(np.float32)
    elbos = jax.jit(lambda x, noise: [bounds.elbo(wrong_model(), x, noise, beta=beta) for beta in (1.0, 2.5)])
    log_px, _ = log_weights(x, noise.astype(np.float64))
    kl = kl_of_normals(x.reshape(3, 3).astype(np.float64) @ WRONG_MEAN, WRONG_VARIANCE, 0, 1)
    default, with_beta = elbos(x, noise)
    for terms, beta in ((default, 1), (with_beta, 2.5)):
        np.testing.assert_allclose(terms.elbo, log_px - beta * kl, rtol=2e-6)
        np.testing.assert_allclose(terms.log_px_given_z, log_px, rtol=2e-6)
        np.testing.assert_allclose(terms.kl, kl, rtol=2e-6)


def test_kl_to_prior_is_its_integral():
    mean = np.array([[0.0, 0.0], [1.5, -0.7], [-4.0, 0.01]])
    log_variance = np.array([[0.0, 0.0], [-3.0, 1.2], [0.4, -0.02]])
    z = np.linspace(-20, 20, 40_001)[:, None, None, None]
    log_q, log_p = log_normal(z, mean[..., None], np.exp(log_variance)[..., None]), log_normal(z, 0, 1)
    expected = np.trapezoid(np.exp(log_q) * (log_q - log_p), z[..., 0], axis=0).sum(axis=-1)
    found = bounds.kl_to_prior(jnp.asarray(mean, jnp.float32), jnp.asarray(log_variance, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert found[0] == 0


def test_log_normal():
    """Against the logarithm of a product of bell curves, and one value from a table."""
    rng = np.random.default_rng(5)
    z, mean, log_variance = rng.normal(size=(3, 4, 3))
    sigma = np.exp(log_variance / 2)
    density = (np.exp(-(((z - mean) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))).prod(axis=-1)
    found = bounds.log_normal(*(jnp.asarray(array, jnp.float32) for array in (z, mean, log_variance)))
    np.testing.assert_allclose(found, np.log(density), rtol=2e-6)
    one = bounds.log_normal(jnp.array([2.0]), jnp.array([0.0]), jnp.array([0.0]))
    assert abs(np.exp(float(one)) - 0.05399097) < 1e-7


def test_reparameterize():
    """z = mean + sigma noise, for one noise or several of each example."""
    mean, sigma = jnp.array([[1.0, -2], [0, 5]]), np.array([[1, 2], [0.5, 10]], np.float32)
    noise = jnp.array([[3.0, 0.5], [-1, -2]])
    z = bounds.reparameterize(mean, jnp.asarray(2 * np.log(sigma)), noise)
    np.testing.assert_allclose(z, [[4, -1], [-0.5, -15]], rtol=1e-6)
    log_variance = jnp.asarray(2 * np.log(sigma))
    both = bounds.reparameterize(mean[None], log_variance[None], jnp.stack([noise, 0 * noise]))
    np.testing.assert_allclose(both, [[[4, -1], [-0.5, -15]], [[1, -2], [0, 5]]], rtol=1e-6)


def test_noise_of_an_example_is_its_keys_alone():
    keys = jr.split(jr.key(6), 3)
    noise = bounds.sample_noise(keys, 4)
    np.testing.assert_array_equal(noise[2], jr.normal(keys[2], (4,)))
    np.testing.assert_array_equal(bounds.sample_noise(keys[::-1], 4), noise[::-1])


def test_bits_per_dimension():
    """-84.23 nats over 28x28 pixels; 6 ln 2 nats are 6 bits."""
    assert abs(bounds.bits_per_dimension(-84.23, (28, 28, 1)) - 0.154997) < 1e-6
    assert abs(bounds.bits_per_dimension(-6 * np.log(2), (1, 2, 3)) - 1) < 1e-15
    np.testing.assert_allclose(bounds.bits_per_dimension(np.array([1.0, -4 * np.log(2)]), IMAGE_SHAPE)[1], 4 / 3)

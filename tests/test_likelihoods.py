"""The Bernoulli likelihood: probabilities that sum to one, extreme logits, frequencies of samples."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from vnca_jax.likelihoods import Bernoulli

BERNOULLI = Bernoulli()


def test_probabilities_of_all_images_sum_to_one():
    images = np.array(list(itertools.product((0, 1), repeat=4)), np.float32).reshape(16, 2, 2, 1)
    logits = np.array([-3, 0.5, 1, 12], np.float32).reshape(1, 2, 2, 1)
    log_prob = BERNOULLI.log_prob(jnp.asarray(np.repeat(logits, 16, axis=0)), jnp.asarray(images))
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = np.where(images == 1, p, 1 - p).prod(axis=(1, 2, 3))
    assert np.unique(expected).size == 16
    np.testing.assert_allclose(np.exp(np.asarray(log_prob, np.float64)), expected, rtol=2e-6)
    assert abs(np.exp(np.asarray(log_prob, np.float64)).sum() - 1) < 1e-6


def test_log_prob_and_gradient():
    """Up to logits of +-100 and beyond: log p(x) = -log(1 + exp(-+logit)), its gradient x - sigmoid(logit)."""
    logits = np.repeat([-1e4, -100, -20, -2.5, 0, 0.1, 3, 20, 100, 1e4], 2)
    x = np.tile([0.0, 1.0], 10)
    arrays = [jnp.asarray(a.reshape(-1, 1, 1, 1), jnp.float32) for a in (logits, x)]
    log_prob, gradient = jax.vmap(jax.value_and_grad(BERNOULLI.log_prob))(*arrays)
    signed = np.where(x == 1, logits, -logits)
    np.testing.assert_allclose(log_prob, -np.logaddexp(0, -signed), rtol=1e-6, atol=1e-40)
    expected = np.where(x == 1, 1, -1) / (1 + np.exp(np.minimum(signed, 700)))
    np.testing.assert_allclose(gradient[:, 0, 0, 0], expected, rtol=1e-6, atol=1e-7)
    exact = {(-100, 0): 0, (-100, 1): -100, (100, 0): -100, (100, 1): 0}
    for (logit, pixel), value in exact.items():
        found = log_prob[(logits == logit) & (x == pixel)]
        assert found.tolist() == [value]


def test_log_prob_sums_over_pixels_and_channels_of_each_image():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(2, 3, 4, 5, 2)).astype(np.float32)
    x = rng.integers(0, 2, size=logits.shape).astype(np.float32)
    signed = np.where(x == 1, logits, -logits).astype(np.float64)
    expected = -np.logaddexp(0, -signed).sum(axis=(2, 3, 4))
    log_prob = BERNOULLI.log_prob(jnp.asarray(logits), jnp.asarray(x))
    np.testing.assert_allclose(log_prob, expected, rtol=2e-6)
    np.testing.assert_allclose(
        BERNOULLI.log_prob(jnp.asarray(logits[1, 2]), jnp.asarray(x[1, 2])), expected[1, 2], rtol=2e-6
    )


def test_mean_and_samples():
    logits = np.array([-100, -3, -1, 0, 0.5, 2, 100], np.float32).reshape(1, 7, 1)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(BERNOULLI.mean(jnp.asarray(logits)), p, rtol=1e-6, atol=1e-40)
    n = 10_000
    sample = jax.jit(lambda logits, key: BERNOULLI.sample(logits, key=key))
    samples, again, other = (np.asarray(sample(np.repeat(logits[None], n, axis=0), jr.key(seed))) for seed in (1, 1, 2))
    assert set(np.unique(samples)) == {0, 1}
    assert (np.abs(samples.mean(axis=0) - p) <= 4 * np.sqrt(p * (1 - p) / n)).all()
    assert (samples[:, 0, 0] == 0).all() and (samples[:, 0, 6] == 1).all()
    correlation = np.corrcoef(samples[:, 0, 1:6, 0].T) - np.eye(5)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(n)
    np.testing.assert_array_equal(samples, again)
    differ = (samples != other)[:, 0, 3].mean()  # two fair coins
    assert abs(differ - 0.5) <= 4 * np.sqrt(0.25 / n)


def test_number_of_parameters():
    assert [BERNOULLI.num_outputs(channels) for channels in (1, 3)] == [1, 3]

"""A model whose log p(x) is known: z ~ N(0, I), x|z ~ N(W z, s^2 I), with 2 latents and images of 1x3 pixels."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from vnca_jax.compute import Compute
from vnca_jax.models import VAE

W = np.array([[1.0, 0.8], [1.0, -0.8], [1.0, 0.0]])  # orthogonal columns: the posterior's covariance is diagonal
S = 0.5
EVERYTHING = Compute("float32", "lax")  # at once, and kept
IMAGE_SHAPE = (1, 3, 1)
COVARIANCE = W @ W.T + S**2 * np.eye(3)
PRECISION = 1 + (W**2).sum(axis=0) / S**2  # of the exact posterior, whose mean is W^T x / s^2 / PRECISION
POSTERIOR = W / S**2 / PRECISION
POSTERIOR_LOG_VARIANCE = -np.log(PRECISION)


class GaussianPixels(eqx.Module):
    """N(mean, S^2) for each pixel."""

    def log_prob(self, mean, x):
        return jnp.sum(-((x - mean) ** 2) / (2 * S**2) - np.log(2 * np.pi * S**2) / 2, axis=(-3, -2, -1))

    def from_levels(self, levels):
        return levels


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of its latents alone."""

    latent_size: int = 2


class LinearGaussian(VAE):
    """Decodes by W and encodes as N(x `to_mean`, exp(`log_variance`)), the exact posterior unless told otherwise."""

    decoder: jnp.ndarray
    to_mean: jnp.ndarray
    log_variance: jnp.ndarray
    likelihood: GaussianPixels
    compute: Compute = eqx.field(static=True)
    sizes: Any = eqx.field(static=True, default=Sizes())

    def __init__(self, to_mean=POSTERIOR, log_variance=POSTERIOR_LOG_VARIANCE, compute=EVERYTHING):
        self.compute = compute
        self.decoder = jnp.asarray(W, jnp.float32)
        self.to_mean = jnp.asarray(to_mean, jnp.float32)
        self.log_variance = jnp.asarray(log_variance, jnp.float32)
        self.likelihood = GaussianPixels()

    def encode(self, x):
        mean = x.reshape(*x.shape[:-3], 3) @ self.to_mean
        return mean, jnp.broadcast_to(self.log_variance, mean.shape)

    def decode(self, z):
        return (z @ self.decoder.T).reshape(*z.shape[:-1], *IMAGE_SHAPE)


def images(num_images):
    """Draws from the model, `(n, 1, 3, 1)`."""
    x = np.random.default_rng(0).multivariate_normal(np.zeros(3), COVARIANCE, size=num_images)
    return x.reshape(-1, *IMAGE_SHAPE).astype(np.float32)


def log_normal(value, mean, variance):
    """log N(value; mean, variance) summed over the last axis, in float64."""
    value, mean, variance = (np.asarray(array, np.float64) for array in (value, mean, variance))
    return -0.5 * ((value - mean) ** 2 / variance + np.log(2 * np.pi * variance)).sum(axis=-1)

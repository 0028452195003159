"""Lower bounds on log p(x), per image and in nats. Knows no optimizer and no batching policy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, Key

from vnca_jax.models import VAE

LOG_2_PI = 1.8378770664093453


class Elbo(NamedTuple):
    """The terms of the one-sample ELBO, each per image in nats: elbo = log_px_given_z - beta * kl."""

    elbo: Float[Array, "*batch"]
    log_px_given_z: Float[Array, "*batch"]
    kl: Float[Array, "*batch"]


def sample_noise(keys: Key[Array, " n"], size: int) -> Float[Array, "n size"]:
    """One standard normal vector a key; `keys` is a vector of keys, one an example."""
    return jax.vmap(lambda key: jr.normal(key, (size,)))(keys)


def reparameterize(
    mean: Float[Array, "*batch latent"], log_variance: Float[Array, "*batch latent"], noise: Float[Array, "*any latent"]
) -> Float[Array, "*any latent"]:
    """z = mean + exp(log_variance / 2) noise, a differentiable sample of q(z|x) (Kingma and Welling, 2013)."""
    return mean + jnp.exp(log_variance / 2) * noise


def kl_to_prior(
    mean: Float[Array, "*batch latent"], log_variance: Float[Array, "*batch latent"]
) -> Float[Array, "*batch"]:
    """KL(N(mean, exp(log_variance)) || N(0, I)) = 1/2 sum(mean^2 + exp(log_variance) - 1 - log_variance), in nats."""
    return jnp.sum(mean**2 + jnp.expm1(log_variance) - log_variance, axis=-1) / 2


def log_normal(
    z: Float[Array, "*batch latent"], mean: Float[Array, "*batch latent"], log_variance: Float[Array, "*batch latent"]
) -> Float[Array, "*batch"]:
    """log N(z; mean, exp(log_variance)), summed over the latent, in nats."""
    return -jnp.sum((z - mean) ** 2 * jnp.exp(-log_variance) + log_variance + LOG_2_PI, axis=-1) / 2


def elbo(
    model: VAE,
    x: Float[Array, "n h w c"],
    noise: Float[Array, "n latent"],
    *,
    beta: float | Float[Array, " n"] = 1.0,
) -> Elbo:
    """The one-sample ELBO log p(x|z) - beta KL(q(z|x) || p(z)), z ~ q(z|x), with the KL in closed form (section 2)."""
    return elbo_of_posterior(model, *model.encode(x), x, noise, beta=beta)


def elbo_of_posterior(
    model: VAE,
    mean: Float[Array, "n latent"],
    log_variance: Float[Array, "n latent"],
    x: Float[Array, "n h w c"],
    noise: Float[Array, "n latent"],
    *,
    beta: float | Float[Array, " n"] = 1.0,
) -> Elbo:
    """`elbo` where q(z|x) = N(mean, exp(log_variance)) has been found already."""
    outputs = model.decode(reparameterize(mean, log_variance, noise))
    log_px_given_z = model.likelihood.log_prob(outputs, x)
    kl = kl_to_prior(mean, log_variance)
    return Elbo(log_px_given_z - beta * kl, log_px_given_z, kl)


class Iwelbo(NamedTuple):
    """The importance-weighted bound and the Monte-Carlo ELBO terms of the same samples, each per image in nats."""

    iwelbo: Float[Array, " n"]
    elbo: Float[Array, " n"]
    log_px_given_z: Float[Array, " n"]
    kl: Float[Array, " n"]


def iwelbo(
    model: VAE,
    x: Float[Array, "n h w c"],
    noise: Callable[[Int[Array, ""]], Float[Array, "n latent"]],
    *,
    num_samples: int,
    chunk_size: int = 1,
) -> Iwelbo:
    """log p(x) >= log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x) (Burda et al., 2015; section 3).

    `noise(k)` is the standard normal noise of sample k for all images. Samples are decoded `chunk_size` at a time into
    a running log-sum-exp, so memory does not grow with K; `chunk_size` must divide `num_samples`. The ELBO beside it is
    the mean of log p(x|z_k) over the same samples, less the KL in closed form.
    """
    if num_samples % chunk_size:
        raise ValueError(f"chunk_size {chunk_size} must divide num_samples {num_samples}")
    mean, log_variance = model.encode(x)

    def add_chunk(sums, samples):
        maximum, scaled_sum, log_px_sum = sums
        z = reparameterize(mean[None], log_variance[None], jax.vmap(noise)(samples))
        log_px = model.likelihood.log_prob(model.decode(z), jnp.broadcast_to(x, (chunk_size, *x.shape)))
        log_pz = log_normal(z, jnp.zeros_like(z), jnp.zeros_like(z))
        log_qz = log_normal(z, jnp.broadcast_to(mean, z.shape), jnp.broadcast_to(log_variance, z.shape))
        log_weight = log_px + log_pz - log_qz
        new_maximum = jnp.maximum(maximum, log_weight.max(axis=0))
        scaled_sum = scaled_sum * jnp.exp(maximum - new_maximum) + jnp.exp(log_weight - new_maximum[None]).sum(axis=0)
        return (new_maximum, scaled_sum, log_px_sum + log_px.sum(axis=0)), None

    zeros = jnp.zeros_like(mean[:, 0])
    lowest = zeros + jnp.finfo(mean.dtype).min  # not -inf, whose difference from a weight of -inf is NaN
    chunks = jnp.arange(num_samples).reshape(-1, chunk_size)
    (maximum, scaled_sum, log_px_sum), _ = jax.lax.scan(add_chunk, (lowest, zeros, zeros), chunks)
    log_px_given_z, kl = log_px_sum / num_samples, kl_to_prior(mean, log_variance)
    bound = maximum + jnp.log(scaled_sum) - jnp.log(float(num_samples))
    return Iwelbo(bound, log_px_given_z - kl, log_px_given_z, kl)


def bits_per_dimension(nats: Any, image_shape: tuple[int, int, int]) -> Any:
    """bpd = -nats / (H W C ln 2) (section 3)."""
    height, width, channels = image_shape
    return -nats / (height * width * channels * 0.6931471805599453)

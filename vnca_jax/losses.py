"""What training minimizes: from a device's part of a batch to a loss, its terms and what it carries to the next."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from vnca_jax import bounds

CHUNK_BYTES = {"cpu": 1 << 29}  # of activations that a device keeps for the gradient; elsewhere the whole batch


class Batch(eqx.Module):
    """A device's part of a batch; `index` is each image's place in the whole batch, which its key comes from."""

    images: Float[Array, "n h w c"]
    index: Int[Array, " n"]

    def keys(self, key: PRNGKeyArray) -> Key[Array, " n"]:
        """One key an image."""
        return jax.vmap(partial(jr.fold_in, key))(self.index)


Terms = dict[str, Float[Array, ""]]
Loss = Callable[[Any, Any, Batch, PRNGKeyArray], tuple[Float[Array, ""], tuple[Any, Terms]]]


def elbo_loss(*, beta: float = 1.0, chunk_size: int | None = None) -> Loss:
    """The loss -ELBO of one sample, log p(x|z) - beta KL, the mean over the batch in nats; it carries nothing."""

    def loss(model, carry, batch, key):
        def chunk_loss(model, chunk):
            terms = bounds.elbo(model, *chunk, beta=beta)
            return -terms.elbo.mean(), terms

        noise = bounds.sample_noise(batch.keys(key), model.latent_size)
        value, terms = mean_over_chunks(chunk_loss, model, (batch.images, noise), chunk_size)
        return value, (carry, {"log_px_given_z": terms.log_px_given_z.mean(), "kl": terms.kl.mean()})

    return loss


def mean_over_chunks(loss: Callable, model: Any, examples: Any, chunk_size: int | None) -> tuple[Any, Any]:
    """The mean of `loss(model, chunk) -> value, per-example terms` over chunks of `examples`, and all the terms.

    The gradient with respect to the model is summed chunk by chunk while the value is computed, so that memory is set
    by the chunk and not by the batch. `chunk_size` is lowered until it divides the examples; None stands for what the
    backend has memory for. Only the value has a gradient, and only with respect to the model.
    """
    num_examples = len(jax.tree.leaves(examples)[0])
    budget = CHUNK_BYTES.get(jax.default_backend())
    if chunk_size is None and budget is not None:
        chunk_size = max(1, budget // (4 * model.trajectory_size))
    chunk_size = min(chunk_size or num_examples, num_examples)
    while num_examples % chunk_size:
        chunk_size -= 1
    num_chunks = num_examples // chunk_size
    if num_chunks == 1:
        value, terms = loss(model, jax.lax.stop_gradient(examples))
        return value, jax.lax.stop_gradient(terms)
    chunks = jax.tree.map(lambda x: x.reshape(num_chunks, chunk_size, *x.shape[1:]), examples)

    def merged(values, terms):
        return values.mean(), jax.tree.map(lambda x: x.reshape(num_examples, *x.shape[2:]), terms)

    @jax.custom_vjp
    def mean(model, chunks):
        return merged(*jax.lax.map(partial(loss, model), chunks))

    def forward(model, chunks):
        def add_chunk(gradient, chunk):
            (value, terms), chunk_gradient = jax.value_and_grad(loss, has_aux=True)(model, chunk)
            return jax.tree.map(jnp.add, gradient, chunk_gradient), (value, terms)

        gradient, results = jax.lax.scan(add_chunk, jax.tree.map(jnp.zeros_like, model), chunks)
        return merged(*results), gradient

    def backward(gradient, cotangent):
        scale = cotangent[0] / num_chunks
        return jax.tree.map(lambda g: g * scale, gradient), None

    mean.defvjp(forward, backward)
    return mean(model, chunks)

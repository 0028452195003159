"""What training minimizes: pairs (init, apply), as optax's transformations are.

`init(model)` is what a loss carries from update to update; `apply(model, carry, batch, key)` goes from a device's part
of a batch to the loss, its terms and the next carry.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from vnca_jax import automaton, bounds, parallel, remat
from vnca_jax import pool as pools
from vnca_jax.schedules import StepRange, rise


class Batch(eqx.Module):
    """A device's part of a batch: images in the dataset's levels, 0 and 1 or 0 to 255, as floats; `index` is each one's
    place in the whole batch, which its key comes from; `step` counts the updates before this one. The gradient of
    `chunk_size` images is computed at once, None for as many as suit the device.
    """

    images: Float[Array, "n h w c"]
    index: Int[Array, " n"]
    step: Int[Array, ""] | int = 0
    chunk_size: int | None = eqx.field(static=True, default=None)

    def keys(self, key: PRNGKeyArray) -> Key[Array, " n"]:
        """One key per image."""
        return jax.vmap(partial(jr.fold_in, key))(self.index)


Terms = dict[str, Float[Array, ""]]


class Loss(NamedTuple):
    """What training minimizes, and what it carries: arrays whose first axis is shared among the devices, or None.

    `init(model) -> carry`, and inside `shard_map`, by all devices, `apply(model, carry, batch, key) -> loss, (carry,
    terms)`: the mean over a device's part of the batch, and scalars by name that are recorded.
    """

    init: Callable[[Any], Any]
    apply: Callable[[Any, Any, Batch, PRNGKeyArray], tuple[Float[Array, ""], tuple[Any, Terms]]]


def elbo_loss(*, beta: float = 1.0, beta_updates: int = 0) -> Loss:
    """The loss -ELBO of one sample, log p(x|z) - beta KL, the mean over the batch in nats; it carries nothing.

    The weight of the KL rises to `beta` over the first `beta_updates` updates.
    """

    def apply(model, carry, batch, key):
        def chunk_loss(model, posterior, chunk):
            (mean, log_variance), (x, noise, weight) = posterior, chunk
            terms = bounds.elbo_of_posterior(model, mean, log_variance, x, noise, beta=weight)
            return -terms.elbo.mean(), terms

        x = model.likelihood.from_levels(batch.images)
        noise = bounds.sample_noise(batch.keys(key), model.latent_size)
        weight = _kl_weight(beta, beta_updates, batch)
        value, terms = mean_over_chunks(chunk_loss, model, model.encode(x), (x, noise, weight), batch.chunk_size)
        return value, (carry, {"log_px_given_z": terms.log_px_given_z.mean(), "kl": terms.kl.mean()})

    return Loss(lambda model: None, apply)


def pool_loss(
    *,
    size: int = 1024,
    beta: float = 1.0,
    beta_updates: int = 0,
    pool_from: int = 0,
    step_range: StepRange | None = None,
) -> Loss:
    """The loss -ELBO of a non-doubling VNCA with pool and damage training (appendix A.3); carries `size` past states.

    Every second image of a batch gives way to one of the pool, whose cells start where they were left, half of those
    with a random square set to zero, and are not differentiated through; its KL stays, as in appendix A.3. One number
    of steps is drawn for the whole batch.

    The paper has the pool from the first update and one range of T. Here the pool may begin after `pool_from` updates,
    the range of T may grow along `step_range`, and the weight of the KL may rise to `beta` over the first
    `beta_updates` updates.
    """

    def init(model):
        return pools.empty(size, (model.image_size, model.image_size, model.image_channels), model.latent_size)

    def apply(model, pool, batch, key):
        draw_key, steps_key, damage_key, noise_key, mask_key, shuffle_key = jr.split(key, 6)
        begun = jnp.asarray(batch.step) >= pool_from
        images, start, resumed = _from_pool(pool, batch, draw_key, damage_key)
        num_steps = draw_num_steps(model, steps_key, step=batch.step, step_range=step_range)

        def chunk_loss(model, posterior, chunk):
            mean, log_variance = posterior
            x, noise, weight, mask_keys, start, resumed = chunk
            cells = model.seed(bounds.reparameterize(mean, log_variance, noise))
            cells = jnp.where(resumed[:, None, None, None], start, cells)
            cells = model.steps(cells, num_steps, max_steps=model.sizes.max_steps, keys=jr.wrap_key_data(mask_keys))
            log_px_given_z = model.likelihood.log_prob(model.outputs(cells), x)
            kl = bounds.kl_to_prior(mean, log_variance)
            elbo = log_px_given_z - weight * kl
            return -elbo.mean(), (bounds.Elbo(elbo, log_px_given_z, kl), cells)

        noise = bounds.sample_noise(batch.keys(noise_key), model.latent_size)
        x = model.likelihood.from_levels(images)
        weight = _kl_weight(beta, beta_updates, batch)
        examples = (x, noise, weight, jr.key_data(batch.keys(mask_key)), start, resumed)
        value, (terms, cells) = mean_over_chunks(chunk_loss, model, model.encode(x), examples, batch.chunk_size)
        pool = pools.put_back(pool, images.astype(jnp.uint8), cells, key=shuffle_key, begun=begun)
        terms = {"log_px_given_z": terms.log_px_given_z.mean(), "kl": terms.kl.mean()}
        return value, (pool, terms | {"num_steps": num_steps.astype(jnp.float32)})

    return Loss(init, apply)


def draw_num_steps(
    model: Any, key: PRNGKeyArray, *, step: Int[Array, ""] | int = 0, step_range: StepRange | None = None
) -> Int[Array, ""]:
    """T ~ U{min_steps, ..., max_steps} (section 3.3), or from the range that `step_range` has reached at `step`."""
    least, most = model.sizes.min_steps, model.sizes.max_steps
    if step_range is not None:
        least, most = step_range.at(jnp.asarray(step), least, most)
    return jr.randint(key, (), least, most + 1)


def _kl_weight(beta: float, beta_updates: int, batch: Batch) -> Float[Array, " n"]:
    """The weight of each image's KL."""
    weight = jnp.full(len(batch.index), beta)
    return weight * rise(jnp.asarray(batch.step), beta_updates) if beta_updates else weight


def _from_pool(pool, batch, draw_key, damage_key):
    """The batch with every second image from the pool, the cells that these start from, and which ones they are.

    The first batches, before the pool is large enough, stay as they are.
    """
    x, index = batch.images, batch.index
    num_devices = jax.lax.axis_size(parallel.AXIS)
    pools.check_sizes(len(pool.filled) * num_devices, len(x) * num_devices, num_devices)
    drawn = pools.draw(pool, len(x) // 2 * num_devices, key=draw_key)
    height, width = drawn.cells.shape[1:3]
    squares = jax.vmap(lambda i: automaton.square(height, width, key=jr.fold_in(damage_key, i)))(index[1::2])
    cells = automaton.damage(drawn.cells, squares & (index[1::2] % 4 == 3)[:, None, None])
    images = jnp.where(drawn.ready, drawn.images.astype(x.dtype), x[1::2])
    start = jnp.zeros((len(x), *cells.shape[1:]), cells.dtype).at[1::2].set(cells)
    return x.at[1::2].set(images), start, (index % 2 == 1) & drawn.ready


def mean_over_chunks(
    loss: Callable, model: Any, posterior: Any, examples: Any, chunk_size: int | None
) -> tuple[Any, Any]:
    """The mean of `loss(model, posterior, chunk) -> value, per-example terms` over chunks of both, and all the terms.

    The gradient with respect to the model is summed chunk by chunk while the value is computed, so that the decoder's
    memory is set by the chunk and not by the batch. `posterior` is what an encoder has found for the whole batch, whose
    weights are read once. `chunk_size` is lowered until it divides the examples; None stands for what `remat.plan`
    finds to suit the device, with the steps computed again where it says so. Only the value has a gradient, and only
    with respect to the model and the posterior.
    """
    num_examples = len(jax.tree.leaves(examples)[0])
    examples = jax.lax.stop_gradient(examples)
    chunk_size, recompute = remat.plan(
        lambda model, both: loss(model, *both), model, (posterior, examples), chunk_size=chunk_size
    )
    if recompute:
        loss = remat.recomputing(loss)
    num_chunks = num_examples // chunk_size
    if num_chunks == 1:
        value, terms = loss(model, posterior, examples)
        return value, jax.lax.stop_gradient(terms)

    def merged(tree):
        return jax.tree.map(lambda x: x.reshape(num_examples, *x.shape[2:]), tree)

    @jax.custom_vjp
    def mean(model, posterior, chunks):
        values, terms = jax.lax.map(lambda both: loss(model, *both), (posterior, chunks))
        return values.mean(), merged(terms)

    def forward(model, posterior, chunks):
        def add_chunk(of_model, both):
            found, (more, of_chunk) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(model, *both)
            return jax.tree.map(jnp.add, of_model, more), (found, of_chunk)

        zeros = jax.tree.map(jnp.zeros_like, model)
        of_model, ((values, terms), of_posterior) = jax.lax.scan(add_chunk, zeros, (posterior, chunks))
        return (values.mean(), merged(terms)), (of_model, of_posterior)

    def backward(gradients, cotangent):
        scale = cotangent[0] / num_chunks
        return *jax.tree.map(lambda g: g * scale, gradients), None

    mean.defvjp(forward, backward)
    chunks = jax.tree.map(lambda x: x.reshape(num_chunks, chunk_size, *x.shape[1:]), (posterior, examples))
    value, terms = mean(model, *chunks)
    return value, jax.lax.stop_gradient(terms)

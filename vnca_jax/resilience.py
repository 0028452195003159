"""How well a non-doubling VNCA keeps its images: step by step while it grows, goes on, and heals (section 3.3)."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from vnca_jax import automaton, bounds, parallel, remat
from vnca_jax.models import NonDoublingVNCA

IMAGES_AT_ONCE = 125  # on each device, at most


class Readings(NamedTuple):
    """What cells show of the images they stand for: the likelihood's pixel error (of binary images the share of wrong
    pixels), and log p(x|cells) in nats; the leading axis counts steps, from zero.
    """

    pixel_error: Float[Array | np.ndarray, "steps n"]
    log_px_given_z: Float[Array | np.ndarray, "steps n"]


def read(model: NonDoublingVNCA, x: Float[Array, "n h w c"], cells: Float[Array, "n h w cell"]) -> Readings:
    """The readings of one state, without the axis of steps."""
    outputs = model.outputs(cells)
    return Readings(model.likelihood.pixel_error(outputs, x), model.likelihood.log_prob(outputs, x))


def follow(
    model: NonDoublingVNCA,
    x: Float[Array, "n h w c"],
    cells: Float[Array, "n h w cell"],
    num_steps: int,
    *,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "n h w cell"], Readings]:
    """The cells after `num_steps` steps, and the readings before and after each; `key` draws the cells to update."""

    def step(cells, i):
        after = model.steps(cells, 1, keys=jr.fold_in(key, i))
        return after, read(model, x, after)

    final, later = jax.lax.scan(step, cells, jnp.arange(num_steps))
    return final, jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), read(model, x, cells), later)


class Resilience(NamedTuple):
    """Readings over `num_images` images: growing for T steps and then on; healing for T steps from each damage."""

    growth: Readings
    healing: dict[str, Readings]


def measure(
    model: NonDoublingVNCA, images: UInt8[np.ndarray, "n h w c"], num_steps: int, *, key: PRNGKeyArray, mesh: Mesh
) -> Resilience:
    """Grows z ~ q(z|x) of each image, follows it for `num_steps` in all, and heals it from a random square and from the
    loss of its right half, for T steps each: half of its height and width, all of its height.
    """
    num_grown = model.num_steps
    if num_steps < num_grown:
        raise ValueError(f"{num_steps} steps are fewer than the {num_grown} that the model grows")

    def of_a_batch(model, images, index):
        x = model.likelihood.from_levels(images)
        noise_key, square_key, mask_key = jr.split(key, 3)
        noise_keys, square_keys = (jax.vmap(partial(jr.fold_in, k))(index) for k in (noise_key, square_key))
        noise = bounds.sample_noise(noise_keys, model.latent_size)
        mean, log_variance = model.encode(x)
        z = bounds.reparameterize(mean, log_variance, noise)
        grown, growth = follow(model, x, model.seed(z), num_grown, key=jr.fold_in(mask_key, 0))
        _, going_on = follow(model, x, grown, num_steps - num_grown, key=jr.fold_in(mask_key, 1))
        growth = jax.tree.map(lambda a, b: jnp.concatenate([a, b[1:]]), growth, going_on)
        masks = damage_masks(*x.shape[1:3], keys=square_keys)
        healing = {
            name: follow(model, x, automaton.damage(grown, mask), num_grown, key=jr.fold_in(mask_key, 2))[1]
            for name, mask in masks.items()
        }
        return jax.tree.map(jnp.transpose, Resilience(growth, healing))  # images first, as they are sharded

    compute = jax.jit(
        jax.shard_map(
            of_a_batch,
            mesh=mesh,
            in_specs=(parallel.REPLICATED, parallel.SHARDED, parallel.SHARDED),
            out_specs=parallel.SHARDED,
        )
    )
    model = parallel.place(model, mesh)
    parts = []
    at_once = min(IMAGES_AT_ONCE, remat.decodes_at_once(model))
    size = min(at_once, -(-len(images) // mesh.size)) * mesh.size
    for index, _ in parallel.batches(len(images), size):
        parts.append(parallel.fetch(compute(model, *parallel.place((images[index], index), mesh, parallel.SHARDED))))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(images)].T, *parts)


def damage_masks(height: int, width: int, *, keys: Any) -> dict[str, Bool[Array, "n h w"]]:
    """The damages that are measured, a mask for each key: a random square, and the right half."""
    squares = jax.vmap(lambda key: automaton.square(height, width, key=key))(keys)
    return {"square": squares, "right half": jnp.broadcast_to(automaton.right_half(height, width), squares.shape)}

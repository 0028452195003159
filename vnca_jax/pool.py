"""The pool of (image, cell states) of appendix A.3, sharded over the devices by slots. No gradients.

The paper shuffles its whole pool after every step, draws from the front and keeps the first P. Here no state moves for
that: which slots are drawn and which states are dropped is decided by uniform permutations of the slots' global
numbers, the same on every device, and only the drawn and the new states travel. The law is the same, because the
shuffled pool's front is a uniform draw, and its first P a uniform choice of who stays; what travels is the batch.
"""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped, UInt8

from vnca_jax import parallel
from vnca_jax.errors import InputError


class Pool(eqx.Module):
    """P slots, or a device's part of them; the filled ones are the first of all P, and in the end all."""

    images: UInt8[Array | np.ndarray, "slots h w c"]
    cells: Float[Array | np.ndarray, "slots h w cell"]
    filled: Bool[Array | np.ndarray, " slots"]


class Drawn(NamedTuple):
    """A device's part of the states drawn from the pool; `ready` is whether the pool held enough to draw from."""

    images: UInt8[Array, "n h w c"]
    cells: Float[Array, "n h w cell"]
    ready: Bool[Array, ""]


def check_sizes(num_slots: int, batch_size: int, num_devices: int) -> None:
    """Raises InputError unless the devices can share the pool, and half of a batch comes from it."""
    parallel.check_divisible("pool_size", num_slots, num_devices)
    if batch_size % (2 * num_devices):
        raise InputError(
            f"`batch_size` is {batch_size}, but half of each device's part comes from the pool: give a multiple of "
            f"{2 * num_devices}, twice the number of devices."
        )
    if num_slots <= batch_size // 2:
        raise InputError(
            f"`pool_size` is {num_slots}, but must be above half the batch, {batch_size // 2}, to be drawn from."
        )


def empty(num_slots: int, image_shape: tuple[int, int, int], cell_size: int) -> Pool:
    """An empty pool of `num_slots`, on the host: the devices will only ever hold their own slots."""
    height, width, _ = image_shape
    return Pool(
        np.zeros((num_slots, *image_shape), np.uint8),
        np.zeros((num_slots, height, width, cell_size), np.float32),
        np.zeros(num_slots, bool),
    )


def draw(pool: Pool, num_drawn: int, *, key: PRNGKeyArray) -> Drawn:
    """`num_drawn` distinct states, uniform over the filled slots of all devices: inside `shard_map`, by all of them.

    State i of the draw goes to device i // (num_drawn / devices). Not ready while the pool holds `num_drawn` or fewer,
    as in appendix A.3. Between devices travel `num_drawn` states, whatever the size of the pool.
    """
    num_filled, num_slots, first = _places(pool)
    order = jr.permutation(key, num_slots)
    is_empty = jnp.arange(num_slots) >= num_filled
    slots = jnp.argsort(order + jnp.where(is_empty, num_slots, 0))[:num_drawn]
    rows = slots - first
    mine = (rows >= 0) & (rows < len(pool.filled))

    def moved(states):
        local = jnp.take(states, jnp.clip(rows, 0, len(states) - 1), axis=0)
        local = jnp.where(mine.reshape(-1, *[1] * (local.ndim - 1)), local, 0)
        return jax.lax.psum_scatter(local, parallel.AXIS, tiled=True)  # one device has it, the others add zero

    return Drawn(moved(pool.images), moved(pool.cells), num_filled > num_drawn)


def put_back(
    pool: Pool,
    images: UInt8[Array, "n h w c"],
    cells: Float[Array, "n h w cell"],
    *,
    key: PRNGKeyArray,
    begun: Bool[Array, ""] | bool = True,
) -> Pool:
    """The pool after a batch's states went in, were shuffled among the others, and the first P were kept.

    `images` and `cells` are a device's part of the batch: inside `shard_map`, by all devices. Between them travels the
    batch, whatever the size of the pool. Until training with the pool has `begun` it stays as it is.
    """
    num_filled, num_slots, first = _places(pool)
    gather = partial(jax.lax.all_gather, axis_name=parallel.AXIS, tiled=True)
    height, width, cell_size = cells.shape[1:]  # as rows of cells and of pixels, which a TPU need not rearrange
    images = gather(images.reshape(len(images), -1)).reshape(-1, *images.shape[1:])
    cells = gather(cells.reshape(-1, height * width, cell_size)).reshape(-1, height, width, cell_size)
    slots = _slots_of_new(num_filled, num_slots, len(images), key)
    kept = (slots >= first) & (slots < first + len(pool.filled)) & begun
    rows = jnp.where(kept, slots - first, len(pool.filled))

    def stored(states, new):
        return states.at[rows].set(new, mode="drop")

    filled = jnp.arange(len(pool.filled)) + first < num_filled + jnp.where(begun, len(images), 0)
    return Pool(stored(pool.images, images), stored(pool.cells, cells), filled)


def _slots_of_new(
    num_filled: Int[Array, ""], num_slots: int, num_new: int, key: PRNGKeyArray
) -> Shaped[Array, " num_new"]:
    """The slot of each new state, `num_slots` for one that is dropped: a slot that was empty or whose state is dropped.

    The `num_slots` that stay, or all while there are fewer, are the first of the old and new in a uniform order.
    """
    candidates = jnp.arange(num_slots + num_new)
    is_empty = (candidates >= num_filled) & (candidates < num_slots)
    order = jr.permutation(key, num_slots + num_new) + jnp.where(is_empty, num_slots + num_new, 0)
    stays = (jnp.argsort(jnp.argsort(order)) < num_slots) & ~is_empty
    free = jnp.argsort(stays[:num_slots], stable=True)  # the slots whose state does not stay, then the others
    new_stays = stays[num_slots:]
    return jnp.where(new_stays, free[jnp.cumsum(new_stays) - 1], num_slots)


def _places(pool):
    """How many slots of all devices are filled, how many there are, and the number of this device's first."""
    num_slots = len(pool.filled) * jax.lax.axis_size(parallel.AXIS)
    num_filled = jax.lax.psum(pool.filled.sum(), parallel.AXIS)
    return num_filled, num_slots, jax.lax.axis_index(parallel.AXIS) * len(pool.filled)

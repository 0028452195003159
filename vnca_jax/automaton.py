"""The cell grid: running N steps, doubling, damage. Knows cells; not images, losses or data.

All functions work on grids with any leading axes, `(*batch, h, w, c)`, so that a batch is one large dot.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from vnca_jax import compute as computing
from vnca_jax import conv
from vnca_jax.compute import Compute
from vnca_jax.update_networks import UpdateNetwork


def run(
    update: UpdateNetwork,
    cells: Float[Array, "*batch h w c"],
    num_steps: int | Int[Array, ""],
    *,
    keep: bool = False,
    max_steps: int | None = None,
    update_probability: float = 1.0,
    key: Key[Array, "*keys"] | None = None,
    compute: Compute | None = None,
) -> Float[Array, "..."]:
    """`num_steps` steps of z_t = z_{t-1} + u(z_{t-1}) (eq. 1), all cells in parallel.

    Returns the final cells, or with `keep` the cells after every step, `(num_steps, *batch, h, w, c)`. A traced
    `num_steps` needs `max_steps`, up to which it may go; steps beyond it cost nothing. With an `update_probability`
    below one, each cell is updated with that probability at each step, drawn from `key`: one for all grids, or one a
    grid. u is computed, and kept for the gradient or not, as `compute` says; None suits JAX's default device.
    """
    compute = compute or computing.choose()

    def step(update, cells, key, i):
        change = _apply(update, cells, compute.dtype)
        if update_probability < 1:
            change = jnp.where(_updated(key, i, cells, update_probability), change, 0)
        return cells + change

    if compute.recompute and not keep:
        return _recomputing(step, compute.formulation, max_steps or num_steps, update, cells, key, num_steps)
    update = conv.prepare(update, compute.formulation)

    def body(cells, i):
        if max_steps is None:
            cells = step(update, cells, key, i)
        else:
            cells = jax.lax.cond(i < num_steps, step, lambda _, cells, *rest: cells, update, cells, key, i)
        return cells, cells if keep else None

    final, states = jax.lax.scan(body, cells, jnp.arange(num_steps if max_steps is None else max_steps))
    return final if states is None else states


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _recomputing(step, formulation, max_steps, update, cells, key, num_steps):
    """The cells after `num_steps` steps. The gradient keeps the cells before each and computes its inside again."""
    update = conv.prepare(update, formulation)
    return jax.lax.fori_loop(0, num_steps, lambda i, cells: step(update, cells, key, i), cells)


def _recomputing_forward(step, formulation, max_steps, update, cells, key, num_steps):
    prepared = conv.prepare(update, formulation)
    before = jax.lax.dynamic_update_index_in_dim(jax.lax.empty((max_steps, *cells.shape), cells.dtype), cells, 0, 0)

    def body(i, carry):
        cells, before = carry
        return step(prepared, cells, key, i), jax.lax.dynamic_update_index_in_dim(before, cells, i, 0)

    final, before = jax.lax.fori_loop(0, num_steps, body, (cells, before))
    return final, (update, before, key, num_steps)


def _recomputing_backward(step, formulation, _, residuals, dcells):
    update, before, key, num_steps = residuals
    prepared, of_update = jax.vjp(lambda update: conv.prepare(update, formulation), update)

    def body(i, carry):
        dcells, dprepared = carry
        i = num_steps - 1 - i
        cells = jax.lax.dynamic_index_in_dim(before, i, 0, keepdims=False)
        _, of_step = jax.vjp(lambda prepared, cells: step(prepared, cells, key, i), prepared, cells)
        of_prepared, dcells = of_step(dcells)
        return dcells, jax.tree.map(jnp.add, dprepared, of_prepared)

    zeros = jax.tree.map(jnp.zeros_like, prepared)
    dcells, dprepared = jax.lax.fori_loop(0, num_steps, body, (dcells, zeros))
    return *of_update(dprepared), dcells, None, None


_recomputing.defvjp(_recomputing_forward, _recomputing_backward)


def _apply(network, cells, dtype):
    """network(cells) computed in the type `dtype`, its parameters and the cells rounded to it, in the cells' type."""
    if cells.dtype == dtype:
        return network(cells)
    lowered = jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, network)
    return lowered(cells.astype(dtype)).astype(cells.dtype)


def _updated(keys, i, cells, probability):
    """Which cells step i updates, `(*batch, h, w, 1)`, or without the batch axes for a single key."""

    def of_a_grid(key):
        return jr.bernoulli(jr.fold_in(key, i), probability, cells.shape[-3:-1])

    masks = jax.vmap(of_a_grid)(keys.reshape(-1)).reshape(*keys.shape, *cells.shape[-3:-1], 1)
    return jnp.broadcast_to(masks if keys.ndim else jnp.expand_dims(masks, tuple(range(cells.ndim - 3))), cells.shape)


def double(cells: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h*2 w*2 c"]:
    """Cell division (Fig. 2, right): each cell becomes a 2x2 block of copies of itself."""
    *batch, h, w, c = cells.shape
    rows = jnp.concatenate([cells, cells], axis=-1).reshape(*batch, h, 2 * w, c)  # whose gradient is cheap on TPUs
    return jnp.broadcast_to(rows[..., :, None, :, :], (*batch, h, 2, 2 * w, c)).reshape(*batch, 2 * h, 2 * w, c)


def square(height: int, width: int, *, key: PRNGKeyArray) -> Bool[Array, "h w"]:
    """A square of half the height and width, uniform over all its places, the last row and column included."""
    tall, wide = height // 2, width // 2
    top_key, left_key = jr.split(key)
    row = jnp.arange(height) - jr.randint(top_key, (), 0, height - tall + 1)
    column = jnp.arange(width) - jr.randint(left_key, (), 0, width - wide + 1)
    return ((row >= 0) & (row < tall))[:, None] & ((column >= 0) & (column < wide))[None, :]


def right_half(height: int, width: int) -> Bool[Array, "h w"]:
    """The right half of a grid."""
    return jnp.broadcast_to(jnp.arange(width)[None, :] >= width // 2, (height, width))


def damage(cells: Float[Array, "*batch h w c"], where: Bool[Array, "*#batch h w"]) -> Float[Array, "*batch h w c"]:
    """The cells with all numbers zero `where` the mask is true: one mask per grid, or one for all (section 3.3)."""
    return jnp.where(where[..., None], 0, cells)

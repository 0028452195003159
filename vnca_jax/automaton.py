"""The cell grid: update networks, running N steps, doubling. Knows cells; not images, losses or data.

All functions work on grids with any leading axes, `(*batch, h, w, c)`, so that a batch is one large dot.
"""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from vnca_jax import conv


@runtime_checkable
class UpdateNetwork(Protocol):
    """u_theta of eq. 1: from the cells to what is added to each, as a function of its 3x3 neighbourhood."""

    def __call__(self, cells: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]: ...


class ResidualUpdate(eqx.Module):
    """The doubling VNCA's update network: 3x3 convolution, blocks x + W2 ELU(W1 x), 1x1 convolution (appendix A.5).

    The last layer starts at zero, so that an untrained automaton is the identity and the recurrence cannot overflow.
    """

    perceive: conv.Conv
    blocks: tuple[tuple[conv.Dense, conv.Dense], ...]
    out: conv.Dense

    def __init__(self, cell_size: int, hidden_size: int, num_blocks: int, *, key: PRNGKeyArray):
        perceive_key, out_key, *block_keys = jr.split(key, 2 + 2 * num_blocks)
        self.perceive = conv.Conv(cell_size, hidden_size, 3, padding=1, key=perceive_key)
        layers = [conv.Dense(hidden_size, hidden_size, key=k) for k in block_keys]
        self.blocks = tuple(zip(layers[::2], layers[1::2], strict=True))
        out = conv.Dense(hidden_size, cell_size, key=out_key)
        self.out = jax.tree.map(jnp.zeros_like, out)

    def __call__(self, cells: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        x = self.perceive(cells)
        for first, second in self.blocks:
            x = x + second(conv.elu(first(x)))
        return self.out(x)


def run(
    update: UpdateNetwork, cells: Float[Array, "*batch h w c"], num_steps: int, *, keep: bool = False
) -> Float[Array, "..."]:
    """`num_steps` steps of z_t = z_{t-1} + u(z_{t-1}) (eq. 1), all cells in parallel.

    Returns the final cells, or with `keep` the cells after every step, `(num_steps, *batch, h, w, c)`.
    """
    update = conv.prepare(update)

    def step(cells, _):
        cells = cells + update(cells)
        return cells, cells if keep else None

    final, states = jax.lax.scan(step, cells, length=num_steps)
    return final if states is None else states


def double(cells: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h*2 w*2 c"]:
    """Cell division (Fig. 2, right): each cell becomes a 2x2 block of copies of itself."""
    *batch, h, w, c = cells.shape
    copies = jnp.broadcast_to(cells[..., :, None, :, None, :], (*batch, h, 2, w, 2, c))
    return copies.reshape(*batch, 2 * h, 2 * w, c)

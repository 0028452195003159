"""The update rule: the paper's networks, those that it tried beside them (appendix A.8), and all of them by name.

Each maps the cells to what is added to them, so a step stays z_t = z_{t-1} + u(z_{t-1}) (eq. 1).
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from vnca_jax import conv
from vnca_jax.errors import InputError

GATE_BIAS = -5.0  # of a GRU's update gate at first, so that an untrained automaton nearly keeps its cells


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
        self.perceive, self.blocks, self.out = residual_layers(conv.Dense, cell_size, hidden_size, num_blocks, key)

    def __call__(self, cells: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        return self.out(through_blocks(self.blocks, self.perceive(cells)))


class SimpleUpdate(eqx.Module):
    """The non-doubling VNCA's update network on MNIST: 3x3 convolution, ELU, 1x1 without bias (section 3.3).

    The last layer starts at zero, so that an untrained automaton is the identity. It has no blocks, whatever their
    number.
    """

    perceive: conv.Conv
    out: Float[Array, "hidden cell"]

    def __init__(self, cell_size: int, hidden_size: int, num_blocks: int = 0, *, key: PRNGKeyArray):
        del num_blocks
        self.perceive = conv.Conv(cell_size, hidden_size, 3, padding=1, key=key)
        self.out = jnp.zeros((hidden_size, cell_size))

    def __call__(self, cells: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        return conv.dot(conv.elu(self.perceive(cells)), self.out)


class NeighbourUpdate(eqx.Module):
    """The residual network with 3x3 in place of all 1x1 convolutions, so that a step sees further than its neighbours.

    The last layer starts at zero, so that an untrained automaton is the identity.
    """

    perceive: conv.Conv
    blocks: tuple[tuple[conv.Conv, conv.Conv], ...]
    out: conv.Conv

    def __init__(self, cell_size: int, hidden_size: int, num_blocks: int, *, key: PRNGKeyArray):
        layer = partial(conv.Conv, kernel_size=3, padding=1)
        self.perceive, self.blocks, self.out = residual_layers(layer, cell_size, hidden_size, num_blocks, key)

    def __call__(self, cells: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        return self.out(through_blocks(self.blocks, self.perceive(cells)))


class GatedUpdate(eqx.Module):
    """sigmoid(b) u(z), where u is the residual network and b one learned number, at first zero."""

    update: ResidualUpdate
    b: Float[Array, ""]

    def __init__(self, cell_size: int, hidden_size: int, num_blocks: int, *, key: PRNGKeyArray):
        self.update = ResidualUpdate(cell_size, hidden_size, num_blocks, key=key)
        self.b = jnp.zeros(())

    def __call__(self, cells: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        change = self.update(cells).astype(jnp.float32)  # for the sum over all cells in the gradient of b
        return jnp.broadcast_to(jax.nn.sigmoid(self.b.astype(jnp.float32)), change.shape) * change


class HalfFrozenUpdate(eqx.Module):
    """The residual network that changes the first half of a cell's numbers only; the others stay what z made them."""

    update: ResidualUpdate
    cell_size: int = eqx.field(static=True)

    def __init__(self, cell_size: int, hidden_size: int, num_blocks: int, *, key: PRNGKeyArray):
        self.update = ResidualUpdate(cell_size, hidden_size, num_blocks, key=key)
        self.cell_size = cell_size

    def __call__(self, cells: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        moves = jnp.arange(self.cell_size) < (self.cell_size + 1) // 2
        change = self.update(cells)
        return jnp.where(jnp.broadcast_to(moves, change.shape), change, 0)


class GRUUpdate(eqx.Module):
    """A gated recurrent unit with state z and input x, the residual blocks' view of the neighbourhood.

    r, g = sigmoid(W [x, z]); candidate = V [x, r z]; u(z) = g (candidate - z). The candidate has no tanh, since the
    likelihood reads logits of any size from it.
    """

    perceive: conv.Conv
    blocks: tuple[tuple[conv.Dense, conv.Dense], ...]
    gates: conv.Dense
    candidate: conv.Dense

    def __init__(self, cell_size: int, hidden_size: int, num_blocks: int, *, key: PRNGKeyArray):
        perceive_key, gates_key, candidate_key, *block_keys = jr.split(key, 3 + 2 * num_blocks)
        self.perceive = conv.Conv(cell_size, hidden_size, 3, padding=1, key=perceive_key)
        self.blocks = pairs([conv.Dense(hidden_size, hidden_size, key=k) for k in block_keys])
        gates = conv.Dense(hidden_size + cell_size, 2 * cell_size, key=gates_key)
        self.gates = eqx.tree_at(lambda layer: layer.bias, gates, gates.bias.at[cell_size:].set(GATE_BIAS))
        self.candidate = conv.Dense(hidden_size + cell_size, cell_size, key=candidate_key)

    def __call__(self, cells: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        x = through_blocks(self.blocks, self.perceive(cells))
        reset, gate = jnp.split(jax.nn.sigmoid(self.gates(jnp.concatenate([x, cells], axis=-1))), 2, axis=-1)
        return gate * (self.candidate(jnp.concatenate([x, reset * cells], axis=-1)) - cells)


Layer = TypeVar("Layer")


def residual_layers(
    layer: Callable[..., Layer], cell_size: int, hidden_size: int, num_blocks: int, key: PRNGKeyArray
) -> tuple[conv.Conv, tuple[tuple[Layer, Layer], ...], Layer]:
    """A 3x3 convolution, the layers of the blocks, and a last layer that starts at zero."""
    perceive_key, out_key, *block_keys = jr.split(key, 2 + 2 * num_blocks)
    perceive = conv.Conv(cell_size, hidden_size, 3, padding=1, key=perceive_key)
    blocks = pairs([layer(hidden_size, hidden_size, key=k) for k in block_keys])
    return perceive, blocks, jax.tree.map(jnp.zeros_like, layer(hidden_size, cell_size, key=out_key))


def pairs(layers: list[Layer]) -> tuple[tuple[Layer, Layer], ...]:
    """Consecutive layers two by two, W1 and W2 of each residual block."""
    return tuple(zip(layers[::2], layers[1::2], strict=True))


def through_blocks(
    blocks: tuple[tuple[Callable[..., Array], Callable[..., Array]], ...], x: Float[Array, "*batch h w hidden"]
) -> Float[Array, "*batch h w hidden"]:
    """x + W2 ELU(W1 x), block after block (appendix A.5)."""
    for first, second in blocks:
        x = x + second(conv.elu(first(x)))
    return x


UPDATE_NETWORKS: dict[str, Callable[..., UpdateNetwork]] = {
    "residual": ResidualUpdate,
    "simple": SimpleUpdate,
    "neighbour": NeighbourUpdate,
    "gated": GatedUpdate,
    "half_frozen": HalfFrozenUpdate,
    "gru": GRUUpdate,
}


def register(name: str, factory: Callable[..., UpdateNetwork]) -> None:
    """Adds your own update network: `factory(cell_size, hidden_size, num_blocks, key=key)`, a class or function.

    A model's file keeps the name alone, so the program that reads it registers it too. Raises InputError if the name is
    taken; the same factory may come again.
    """
    if UPDATE_NETWORKS.setdefault(name, factory) is not factory:
        raise InputError(
            f"There is an update network {name!r} already; choose a name besides {', '.join(UPDATE_NETWORKS)}."
        )


def check_name(name: str) -> None:
    """Raises InputError unless `name` is one of UPDATE_NETWORKS."""
    if name not in UPDATE_NETWORKS:
        raise InputError(f"`update_network` is {name!r}, but must be one of {', '.join(UPDATE_NETWORKS)}.")


def make(name: str, cell_size: int, hidden_size: int, num_blocks: int, *, key: PRNGKeyArray) -> UpdateNetwork:
    """The update network called `name`, one of UPDATE_NETWORKS; raises InputError for another name."""
    check_name(name)
    return UPDATE_NETWORKS[name](cell_size, hidden_size, num_blocks, key=key)

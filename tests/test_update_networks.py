"""The update networks of the ablations against the residual network and against NumPy."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from vnca_jax import automaton, update_networks
from vnca_jax.errors import InputError
from vnca_jax.models import DoublingVNCA, NonDoublingSizes, NonDoublingVNCA, hyperparameters
from vnca_jax.update_networks import (
    GATE_BIAS,
    UPDATE_NETWORKS,
    GatedUpdate,
    GRUUpdate,
    HalfFrozenUpdate,
    NeighbourUpdate,
    ResidualUpdate,
    SimpleUpdate,
    make,
    register,
)

CELL, HIDDEN, BLOCKS = 5, 6, 2
CELLS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3, CELL)), jnp.float32)


def filled(network, seed=0):
    """The same network with all parameters drawn at random, so that no layer is zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) / 3, jnp.float32), network)


def built(kind):
    return filled(kind(CELL, HIDDEN, BLOCKS, key=jr.key(0)))


@pytest.mark.long
def test_neighbours_that_look_at_the_centre_alone_are_the_residual_network():
    residual, neighbour = built(ResidualUpdate), NeighbourUpdate(CELL, HIDDEN, BLOCKS, key=jr.key(1))

    def centred(conv, dense):
        weight = jnp.zeros_like(conv.weight).at[1, 1].set(dense.weight)
        return eqx.tree_at(lambda layer: (layer.weight, layer.bias), conv, (weight, dense.bias))

    blocks = tuple(
        tuple(centred(conv, dense) for conv, dense in zip(convs, denses, strict=True))
        for convs, denses in zip(neighbour.blocks, residual.blocks, strict=True)
    )
    out = centred(neighbour.out, residual.out)
    neighbour = eqx.tree_at(lambda n: (n.perceive, n.blocks, n.out), neighbour, (residual.perceive, blocks, out))
    np.testing.assert_allclose(neighbour(CELLS), residual(CELLS), rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_neighbours_see_as_far_as_their_layers():
    cells = jnp.zeros((15, 15, CELL))
    change = built(NeighbourUpdate)(cells.at[7, 7].set(1.0)) - built(NeighbourUpdate)(cells)
    seen = np.abs(change).max(axis=-1) > 0
    np.testing.assert_array_equal(seen[7], np.abs(np.arange(15) - 7) <= 2 + 2 * BLOCKS)


def test_a_gate_scales_the_residual_network():
    gated = built(GatedUpdate)
    for b, share in ((0.0, 0.5), (np.log(3.0), 0.75)):
        changed = eqx.tree_at(lambda g: g.b, gated, jnp.float32(b))
        np.testing.assert_allclose(changed(CELLS), share * gated.update(CELLS), rtol=1e-6)


def test_half_of_the_cell_stays():
    frozen = built(HalfFrozenUpdate)
    change = frozen(CELLS)
    np.testing.assert_array_equal(change[..., :3], frozen.update(CELLS)[..., :3])
    assert np.all(change[..., 3:] == 0) and np.all(change[..., :3] != 0)
    grown = automaton.run(frozen, CELLS, 3)
    np.testing.assert_array_equal(grown[..., 3:], CELLS[..., 3:])


def test_gru_against_numpy():
    gru = built(GRUUpdate)
    weights = jax.tree.map(lambda x: np.asarray(x, np.float64), gru)
    z = np.asarray(CELLS, np.float64)
    padded = np.pad(z, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = np.zeros((*z.shape[:-1], HIDDEN)) + weights.perceive.bias
    for i in range(3):
        for j in range(3):
            x += padded[:, i : i + 4, j : j + 3] @ weights.perceive.weight[i, j]
    for first, second in weights.blocks:
        inner = x @ first.weight + first.bias
        x = x + np.where(inner > 0, inner, np.expm1(inner)) @ second.weight + second.bias
    both = 1 / (1 + np.exp(-(np.concatenate([x, z], -1) @ weights.gates.weight + weights.gates.bias)))
    r, g = both[..., :CELL], both[..., CELL:]
    candidate = np.concatenate([x, r * z], -1) @ weights.candidate.weight + weights.candidate.bias
    np.testing.assert_allclose(gru(CELLS), g * (candidate - z), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", UPDATE_NETWORKS)
def test_untrained_it_keeps_the_cells(name):
    change = make(name, CELL, HIDDEN, BLOCKS, key=jr.key(2))(CELLS)
    largest = 0 if name != "gru" else 5 * np.exp(GATE_BIAS) * (1 + np.abs(CELLS).max())
    assert np.abs(change).max() <= largest


def test_names():
    assert isinstance(make("gated", CELL, HIDDEN, BLOCKS, key=jr.key(0)), GatedUpdate)
    with pytest.raises(InputError, match="`update_network` is 'lstm', but must be one of residual, simple, nei"):
        make("lstm", CELL, HIDDEN, BLOCKS, key=jr.key(0))


def test_one_s_own(monkeypatch):
    monkeypatch.setattr(update_networks, "UPDATE_NETWORKS", {"residual": ResidualUpdate})

    def constant(cell_size, hidden_size, num_blocks, *, key):
        del hidden_size, num_blocks, key
        return lambda cells: jnp.full((*cells.shape[:-1], cell_size), 2.0)

    for _ in range(2):  # the same once more is no clash
        register("constant", constant)
    np.testing.assert_array_equal(make("constant", CELL, HIDDEN, BLOCKS, key=jr.key(0))(CELLS), np.full(CELLS.shape, 2))
    with pytest.raises(InputError) as error:
        register("residual", constant)
    assert str(error.value) == (
        "There is an update network 'residual' already; choose a name besides residual, constant."
    )
    assert list(update_networks.UPDATE_NETWORKS.values()) == [ResidualUpdate, constant]


@pytest.mark.parametrize("name", UPDATE_NETWORKS)
def test_both_automata_choose_by_name(name):
    """The same network, with the numbers that the same key draws; a file says its name."""
    sizes: Any = {"latent_size": CELL, "hidden_size": HIDDEN, "num_blocks": BLOCKS, "update_network": name}
    sizes |= {"encoder_width": 2, "encoder_depth": 1}
    key = jr.key(3)
    doubling = DoublingVNCA(**sizes, num_doublings=1, key=key)
    nondoubling = NonDoublingVNCA(**sizes, image_size=4, key=key)
    for model in (doubling, nondoubling):
        assert type(model.update) is UPDATE_NETWORKS[name]
        assert hyperparameters(model)["update_network"] == name
    for one, other in zip(jax.tree.leaves(doubling.update), jax.tree.leaves(nondoubling.update), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_non_doubling_model_has_the_paper_s_unless_told_otherwise():
    for blocks, kind in ((0, SimpleUpdate), (2, ResidualUpdate)):
        sizes = NonDoublingSizes(4, 3, 3, num_blocks=blocks, encoder_width=2, encoder_depth=1)
        assert type(NonDoublingVNCA(sizes, key=jr.key(0)).update) is kind
    with pytest.raises(InputError, match="`update_network` is 'lstm', but must be one of"):
        NonDoublingSizes(update_network="lstm")

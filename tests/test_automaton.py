"""Steps of the automaton against loops over cells; what an untrained one does, and how far a change travels."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from close import assert_close

from vnca_jax import automaton, update_networks
from vnca_jax.compute import FORMULATIONS, Compute


def with_weights(scale=0.5, *, cell_size, hidden_size, num_blocks):
    """An update network all of whose weights are normal numbers, the last layer's too."""
    skeleton = eqx.filter_eval_shape(update_networks.ResidualUpdate, cell_size, hidden_size, num_blocks, key=jr.key(0))
    rng = np.random.default_rng(num_blocks)
    return jax.tree.map(lambda a: jnp.asarray(scale * rng.normal(size=a.shape), jnp.float32), skeleton)


TRAINED = with_weights(cell_size=2, hidden_size=3, num_blocks=2)
CELLS = np.random.default_rng(1).normal(size=(3, 18, 18, 2)).astype(np.float32)


def written_out(update, cells, num_steps):
    """z_t = z_{t-1} + u(z_{t-1}), one cell at a time in float64: every state from the first step on."""
    update = jax.tree.map(lambda a: np.asarray(a, np.float64), update)
    states = []
    for _ in range(num_steps):
        padded = np.pad(cells, ((1, 1), (1, 1), (0, 0)))
        new = np.empty_like(cells)
        for i, j in np.ndindex(cells.shape[:2]):
            h = update.perceive.bias + np.tensordot(padded[i : i + 3, j : j + 3], update.perceive.weight, 3)
            for first, second in update.blocks:
                a = h @ first.weight + first.bias
                a = np.where(a > 0, a, np.exp(np.minimum(a, 0)) - 1)
                h = h + a @ second.weight + second.bias
            new[i, j] = cells[i, j] + h @ update.out.weight + update.out.bias
        cells = new
        states.append(cells)
    return np.stack(states)


def test_double():
    cells = jnp.array([[[1.0, -1], [2, -2], [3, -3]], [[4, -4], [5, -5], [6, -6]]])
    expected = [[1, 1, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3], [4, 4, 5, 5, 6, 6], [4, 4, 5, 5, 6, 6]]
    doubled = np.asarray(automaton.double(cells))
    assert doubled[..., 0].tolist() == expected
    assert (-doubled[..., 1]).tolist() == expected
    of_batch = automaton.double(jnp.stack([cells, 10 * cells])[None])
    np.testing.assert_array_equal(of_batch, np.stack([doubled, 10 * doubled])[None])


def test_gradient_of_double():
    """Each cell has the sum of its four copies' gradients."""
    dy = jnp.arange(4.0 * 6 * 2).reshape(4, 6, 2)
    (found,) = jax.vjp(automaton.double, jnp.zeros((2, 3, 2)))[1](dy)
    np.testing.assert_array_equal(found, np.asarray(dy).reshape(2, 2, 3, 2, 2).sum(axis=(1, 3)))


def test_untrained_run_is_the_identity():
    """Bit for bit, whatever the hidden layers do."""

    @jax.jit
    def initialized_and_run(key, cells):
        update = update_networks.ResidualUpdate(2, 4, 1, key=key)
        return update, automaton.run(update, cells, 5)

    cells = np.random.default_rng(0).normal(scale=100, size=(2, 4, 6, 2)).astype(np.float32)
    update, final = initialized_and_run(jr.key(0, impl="rbg"), cells)  # quicker to compile than the default
    assert np.abs(update.perceive.weight).min() > 0 and np.abs(update.blocks[0][1].weight).min() > 0
    assert np.asarray(final).tobytes() == cells.tobytes()


def test_steps_by_hand():
    """Each cell adds the cell on its left times 1, the one above times 10 and a bias of 100: integers, so exactly."""
    update = with_weights(0, cell_size=1, hidden_size=1, num_blocks=0)
    weight = jnp.zeros((3, 3, 1, 1)).at[1, 0].set(1).at[0, 1].set(10)
    new = (weight, jnp.ones((1, 1)), jnp.array([100.0]))
    update = eqx.tree_at(lambda u: (u.perceive.weight, u.out.weight, u.out.bias), update, new)
    cells = jnp.array([[1.0, 2], [3, 4]])[..., None]
    states = automaton.run(update, cells, 2, keep=True)
    once = [[101, 103], [113, 127]]
    twice = [[201, 103 + 101 + 100], [113 + 1010 + 100, 127 + 113 + 1030 + 100]]
    assert states[..., 0].tolist() == [once, twice]
    assert automaton.run(update, cells, 2)[..., 0].tolist() == twice


@pytest.fixture(scope="module", params=FORMULATIONS)
def three_steps(request):
    """The states of a trained network after each of three steps, in one formulation; on 18x18 cells Winograd works."""
    compute = Compute("float32", request.param)
    run = jax.jit(lambda cells: automaton.run(TRAINED, cells, 3, keep=True, compute=compute))
    return lambda cells: np.asarray(run(cells))


def test_run(three_steps):
    expected = np.stack([written_out(TRAINED, image, 3) for image in CELLS.astype(np.float64)], axis=1)
    np.testing.assert_allclose(three_steps(CELLS), expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("traced", [False, True])
def test_steps_that_are_computed_again(traced):
    """The cells and all gradients of steps that are kept; a traced number of them goes up to six."""
    keys = jr.split(jr.key(2), len(CELLS))

    @jax.jit
    def found(update, cells, num_steps):
        def loss(update, cells, recompute):
            how = Compute("float32", "winograd", recompute)
            number, most = (num_steps, 6) if traced else (3, None)
            grown = automaton.run(update, cells, number, max_steps=most, update_probability=0.6, key=keys, compute=how)
            return jnp.sin(grown).sum(), grown

        return [jax.grad(loss, (0, 1), has_aux=True)(update, cells, recompute) for recompute in (False, True)]

    kept, again = found(TRAINED, jnp.asarray(CELLS) / 8, 3)
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(again), strict=True):
        assert_close(one, other, 2e-6)
    assert np.abs(kept[0][0].out.weight).min() > 0


def test_light_cone(three_steps):
    """After t steps a changed cell has changed the (2t + 1) x (2t + 1) square around it, each cell of it and no other.

    The cells stand at even and odd places, since Winograd computes 2x2 tiles, and in a corner.
    """
    places = [(8, 9), (7, 6), (0, 17)]
    changed = CELLS.copy()
    for image, place in zip(changed, places, strict=True):
        image[place] += 1
    differs = (three_steps(changed) != three_steps(CELLS)).any(axis=-1)
    row, column = np.mgrid[:18, :18]
    for i, (r, c) in enumerate(places):
        for t in (1, 2, 3):
            expected = np.maximum(abs(row - r), abs(column - c)) <= t
            np.testing.assert_array_equal(differs[t - 1, i], expected)


def test_simple_update_by_hand():
    """W2 ELU(W1 z + b) of one cell: W1 z + b = (1, -2), ELU gives (1, e^-2 - 1), and W2 = (3, 10) their sum."""
    update = update_networks.SimpleUpdate(1, 2, key=jr.key(0, impl="rbg"))
    weight = jnp.zeros((3, 3, 1, 2)).at[1, 1, 0].set(jnp.array([2.0, 5.0]))
    new = (weight, jnp.array([-1.0, -7.0]), jnp.array([[3.0], [10.0]]))
    update = eqx.tree_at(lambda u: (u.perceive.weight, u.perceive.bias, u.out), update, new)
    assert float(update(jnp.ones((1, 1, 1)))[0, 0, 0]) == pytest.approx(3 + 10 * np.expm1(-2), rel=1e-6)


class Doubles(eqx.Module):
    """u(z) = factor z, which says when it is computed."""

    factor: jax.Array
    seen: list = eqx.field(static=True)

    def __call__(self, cells):
        jax.debug.callback(lambda: self.seen.append(1), ordered=True)
        return self.factor * cells


def test_a_traced_number_of_steps():
    """z (1 + w)^t and its derivative z t (1 + w)^(t - 1), and no more than t updates are computed."""
    seen = []

    @jax.jit
    def value_and_slope(factor, num_steps):
        def final(factor):
            cells = automaton.run(Doubles(factor, seen), jnp.full((1, 1, 1), 3.0), num_steps, max_steps=6)
            return cells[0, 0, 0]

        return jax.value_and_grad(final)(factor)

    for t in (1, 4, 6):
        seen.clear()
        value, slope = value_and_slope(jnp.float32(0.5), t)
        jax.effects_barrier()
        assert (float(value), float(slope)) == (3 * 1.5**t, 3 * t * 1.5 ** (t - 1))
        assert len(seen) == t


def test_update_probability():
    """u(z) = z doubles a cell each time it is updated: out of 6 steps, binomially often, and apart from other cells."""
    cells = jnp.ones((3, 20, 20, 2))
    keys = jr.split(jr.key(0), 3)
    run = jax.jit(lambda keys: automaton.run(lambda cells: cells, cells, 6, update_probability=0.75, key=keys))
    counts = np.log2(np.asarray(run(keys)))
    np.testing.assert_array_equal(counts[..., 0], counts[..., 1])
    shares = np.bincount(counts[..., 0].astype(int).ravel(), minlength=7) / 1200
    expected = [math.comb(6, k) * 0.75**k * 0.25 ** (6 - k) for k in range(7)]
    np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / np.sqrt(1200))
    assert abs(np.corrcoef(counts[..., 0].reshape(3, -1))[0, 1]) < 0.2
    one = np.log2(np.asarray(run(keys[0])))
    np.testing.assert_array_equal(one, np.broadcast_to(counts[:1], one.shape))


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 3)])
def test_squares(height, width):
    """One block of half the sides, equally often at all places where it fits, all four corners included."""
    keys = jr.split(jr.key(1), 1800)
    masks = np.asarray(jax.jit(jax.vmap(lambda key: automaton.square(height, width, key=key)))(keys))
    tall, wide = height // 2, width // 2
    places = [(row, column) for row in range(height - tall + 1) for column in range(width - wide + 1)]
    expected = np.zeros((len(places), height, width), bool)
    for mask, (row, column) in zip(expected, places, strict=True):
        mask[row : row + tall, column : column + wide] = True
    counts = (masks[:, None] == expected).all(axis=(2, 3)).sum(axis=0)
    assert counts.sum() == len(masks)
    share = 1 / len(places)
    np.testing.assert_allclose(counts / len(masks), share, atol=4 * np.sqrt(share * (1 - share) / len(masks)))


def test_damage():
    cells = jnp.arange(1.0, 13).reshape(2, 3, 2)
    where = automaton.right_half(2, 3)
    assert where.tolist() == [[False, True, True]] * 2
    assert automaton.damage(cells, where)[..., 1].tolist() == [[2, 0, 0], [8, 0, 0]]
    both = automaton.damage(jnp.stack([cells, 10 * cells]), where)  # one mask for all grids
    assert both[..., 1].tolist() == [[[2, 0, 0], [8, 0, 0]], [[20, 0, 0], [80, 0, 0]]]

"""Training with a pool: a linear automaton by hand, the steps that are drawn, and runs that are interrupted."""

import types

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training
from tiny_training import fit_pooled, numbers, tiny_nondoubling

from vnca_jax import bounds, losses, metrics, parallel, pool, train
from vnca_jax.compute import Compute
from vnca_jax.losses import Batch, pool_loss

compile_once = pytest.fixture(scope="module")(tiny_training.compile_once)


class Unit(eqx.Module):
    """p(x|cells) = N(x; cells, 1) without its constant."""

    def log_prob(self, cells, x):
        return -jnp.square(cells - x).sum(axis=(1, 2, 3)) / 2

    def from_levels(self, levels):
        return levels


class Linear(eqx.Module):
    """Images of one pixel: q(z|x) = N(a x, 1), and a step multiplies the cell by 1 + w."""

    a: jax.Array
    w: jax.Array
    likelihood = Unit()
    latent_size, compute = 1, Compute("float32", "lax")
    sizes = types.SimpleNamespace(min_steps=3, max_steps=3)

    def encode(self, x):
        return self.a * x[:, 0, 0], jnp.zeros((len(x), 1))

    def seed(self, z):
        return z[:, None, None, :]

    def steps(self, cells, num_steps, *, max_steps, keys):
        del max_steps, keys
        return cells * (1 + self.w) ** num_steps.astype(jnp.float32)

    def outputs(self, cells):
        return cells


@pytest.mark.parametrize("chunk_size", [8, 2])
def test_truncated_gradient_by_hand(chunk_size, monkeypatch):
    """A state s of the pool gives log p = -(s (1 + w)^3 - x)^2 / 2 with d/dw = -(s (1 + w)^3 - x) 3 s (1 + w)^2 and
    d/ds = 0; a fresh z = a x + noise also passes its gradient to a, and every image's KL = (a x)^2 / 2 does.
    """
    a, w = 0.7, 0.1
    monkeypatch.setattr(bounds, "sample_noise", lambda keys, size: 0.5 * jnp.ones((len(keys), size)))
    monkeypatch.setattr(losses.automaton, "square", lambda h, w, *, key: jnp.ones((h, w), bool))
    images = np.arange(12, dtype=np.uint8)[:, None, None, None]
    cells = 0.25 * np.arange(1, 13, dtype=np.float32)[:, None, None, None]
    start = pool.Pool(images, cells, np.ones(12, bool))
    fresh = jnp.array([3.0, 0, 1, 0, 5, 0, 2, 0])[:, None, None, None]  # every second one gives way
    batch = Batch(fresh, jnp.arange(8), chunk_size=chunk_size)

    def value(model, pooled):
        return pool_loss().apply(model, pooled, batch, jr.key(0))

    def gradients(model, pooled):
        (value_, (after, terms)), gradient = jax.value_and_grad(value, has_aux=True)(model, pooled)
        to_pool = jax.grad(lambda cells: value(model, eqx.tree_at(lambda p: p.cells, pooled, cells))[0])(pooled.cells)
        drawn = pool.draw(pooled, 4, key=jr.split(jr.key(0), 6)[0])
        return value_, terms, gradient, to_pool, drawn, after.cells

    mesh = parallel.make_mesh(1)
    run = jax.shard_map(
        gradients, mesh=mesh, in_specs=parallel.REPLICATED, out_specs=parallel.REPLICATED, check_vma=False
    )
    found, terms, gradient, to_pool, drawn, after = jax.jit(run)(Linear(jnp.float32(a), jnp.float32(w)), start)

    x = np.asarray(fresh).ravel().astype(float)
    x[1::2] = np.asarray(drawn.images).ravel()
    s = a * x + 0.5
    s[1::2] = np.asarray(drawn.cells).ravel()
    s[3::4] = 0  # the damaged half of the pool's
    is_fresh = np.arange(8) % 2 == 0
    end = s * (1 + w) ** 3
    assert float(found) == pytest.approx((np.square(end - x) / 2 + np.square(a * x) / 2).mean(), rel=1e-6)
    assert float(terms["kl"]) == pytest.approx((np.square(a * x) / 2).mean(), rel=1e-6)
    by_w = (end - x) * 3 * s * (1 + w) ** 2
    by_a = is_fresh * (end - x) * (1 + w) ** 3 * x + a * x**2
    assert float(gradient.w) == pytest.approx(by_w.mean(), rel=1e-5)
    assert float(gradient.a) == pytest.approx(by_a.mean(), rel=1e-5)
    assert not np.asarray(to_pool).any()
    old = {round(value, 4) for value in cells.ravel().tolist()}
    put_in = {round(value, 4) for value in np.asarray(after).ravel().tolist()} - old
    assert 1 <= len(put_in) <= 8 and put_in <= {round(value, 4) for value in end.tolist()}


def test_steps_drawn(tmp_path):
    """Every number from 2 to 4 occurs, about equally often, and no other."""
    fit_pooled(tmp_path, 300)
    drawn = metrics.read(tmp_path / "metrics.jsonl")["num_steps"]
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [2, 3, 4]
    np.testing.assert_allclose(counts / 300, 1 / 3, atol=4 * np.sqrt(2 / 9 / 300))


def test_the_paper_draws_32_to_64():
    """The draw of the loss at the paper's bounds, for 2,000 keys."""
    model = tiny_nondoubling(min_steps=32, max_steps=64)
    draw = jax.vmap(lambda key: losses.draw_num_steps(model, key))
    values, counts = np.unique(np.asarray(draw(jr.split(jr.key(0), 2000))), return_counts=True)
    assert values.tolist() == list(range(32, 65))
    np.testing.assert_allclose(counts / 2000, 1 / 33, atol=4 * np.sqrt(32 / 33**2 / 2000))


@pytest.mark.long
@pytest.mark.usefixtures("compile_once")
def test_an_interrupted_run_ends_on_the_same_bits(tmp_path, monkeypatch):
    """With a checkpoint after each update, as a run has it that was killed: the pool is in it."""
    monkeypatch.setattr(train, "SECONDS_PER_CALL", 0)
    whole = numbers(fit_pooled(tmp_path / "whole", 6, checkpoint_minutes=0.0))

    def interrupt(step, model):
        del step, model
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_pooled(tmp_path / "parts", 6, checkpoint_minutes=0.0, report_every=3, report=interrupt)
    assert metrics.read(tmp_path / "parts" / "metrics.jsonl")["step"].tolist() == [1, 2, 3]
    parts = numbers(fit_pooled(tmp_path / "parts", 6, checkpoint_minutes=0.0))
    assert parts.keys() == whole.keys() and any("cells" in name for name in parts)
    for name, value in whole.items():
        assert parts[name].tobytes() == value.tobytes(), name
    assert whole[".carry.filled"].all() and np.abs(whole[".carry.cells"]).max() > 0

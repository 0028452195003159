"""bfloat16 inside the steps: rounded by hand, sums in float32, and a training that follows float32's."""

import types
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import ml_dtypes
import numpy as np
import pytest
import tiny_training

from vnca_jax import automaton, conv, data, metrics, parallel, precision, update_networks
from vnca_jax.losses import elbo_loss
from vnca_jax.models import DoublingVNCA
from vnca_jax.train import TrainConfig, fit, split_seed
from vnca_jax.update_networks import UPDATE_NETWORKS


def rounded(x):
    return np.asarray(x, np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)


@pytest.mark.parametrize(
    ("platform", "capability", "expected"),
    [
        ("cpu", None, "float32"),
        ("tpu", None, "bfloat16"),
        ("gpu", "9.0", "bfloat16"),
        ("gpu", "8.0", "bfloat16"),
        ("gpu", "7.5", "float32"),
        ("gpu", "6.0", "float32"),
        ("gpu", "gfx942", "bfloat16"),
    ],
)
def test_chosen_by_the_device(platform, capability, expected, monkeypatch):
    device = types.SimpleNamespace(platform=platform, compute_capability=capability)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert precision.compute_dtype() == expected
    with precision.use_compute_dtype("float32"):
        assert precision.compute_dtype() == "float32"
        with precision.use_compute_dtype("auto"):
            assert precision.compute_dtype() == expected


def test_a_step_by_hand():
    """z + u(z): parameters and z rounded to bfloat16 for u, each operation in it rounded once, z left as it is."""
    cells = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    network: Any = conv.Dense(3, 3, key=jr.key(0))
    with precision.use_compute_dtype("bfloat16"):
        found = automaton.run(network, cells, 1)
    assert found.dtype == jnp.float32
    weight, bias = rounded(network.weight), rounded(network.bias)
    error = np.abs(np.asarray(found, np.float64) - cells - (rounded(cells) @ weight + bias))
    assert (error <= 2**-8 * (np.abs(rounded(cells)) @ np.abs(weight) + np.abs(bias))).all()
    in_float32 = automaton.run(network, cells, 1)
    assert 1e-3 < np.abs(found - in_float32).max() < 0.1


def test_gradients_are_summed_in_float32():
    """d/db of a sum over 2^14 cells and 8 steps is 2^17 to the bit; in bfloat16 sums stall at 2^8."""
    cells, steps = jnp.zeros((16, 32, 32, 1)), 8

    def total(bias):
        network = lambda cells: conv.add_bias(jnp.zeros_like(cells), bias.astype(cells.dtype))  # noqa: E731
        return automaton.run(network, cells, steps).sum()

    with precision.use_compute_dtype("bfloat16"):
        assert jax.grad(total)(jnp.ones(1))[0] == 16 * 32 * 32 * steps


def test_gradients_against_float32():
    """Of every parameter after 40 steps, to a few roundings of 2^-9, though they are sums over all steps."""
    model = tiny_training.tiny_nondoubling(latent_size=8, hidden_size=16, num_steps=40, num_blocks=1)
    model = jax.tree.map(lambda leaf: leaf / 4, model)  # so that 40 steps stay in range
    z = jnp.asarray(np.random.default_rng(1).normal(size=(8, 8)), jnp.float32)

    def gradient_in(dtype):
        with precision.use_compute_dtype(dtype):
            return jax.jit(jax.grad(lambda model: jnp.square(model.decode(z)).mean()))(model).update

    exact, found = gradient_in("float32"), gradient_in("bfloat16")
    for one, other in zip(jax.tree.leaves(exact), jax.tree.leaves(found), strict=True):
        assert other.dtype == jnp.float32
        assert 0 < np.linalg.norm(other - one) < 2**-6 * np.linalg.norm(one)


@pytest.mark.long
@pytest.mark.parametrize("name", UPDATE_NETWORKS)
def test_every_update_network(name):
    """The cells after two steps, and the gradients, to a few roundings, in float32."""
    network = update_networks.make(name, 4, 6, 1, key=jr.key(0))
    network = jax.tree.map(lambda leaf: leaf + 0.1 * jr.normal(jr.key(leaf.size), leaf.shape), network)
    cells = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 4)), jnp.float32)

    def found_in(dtype):
        def loss(network):
            grown = automaton.run(network, cells, 2)
            return jnp.square(grown).sum(), grown

        with precision.use_compute_dtype(dtype):
            gradient, grown = jax.jit(jax.grad(loss, has_aux=True))(network)
        return [grown, *jax.tree.leaves(gradient)]

    for one, other in zip(found_in("float32"), found_in("bfloat16"), strict=True):
        assert other.dtype == jnp.float32
        assert 0 < np.linalg.norm(other - one) < 2**-5 * np.linalg.norm(one)


@pytest.mark.long
def test_training_follows_float32(tmp_path):
    """On the digits, over 300 updates and two seeds: the mean loss differs by less than half of what the seeds do."""
    images = data.load("digits").train

    def losses_in(dtype, seed):
        keys, folder = split_seed(seed), tmp_path / f"{dtype}{seed}"
        folder.mkdir()
        cells: Any = {"latent_size": 16, "hidden_size": 16, "num_doublings": 2, "steps_per_doubling": 2}
        model = DoublingVNCA(**cells, num_blocks=1, encoder_width=4, encoder_depth=1, key=keys.init)
        config = TrainConfig(num_updates=300, learning_rate=2e-3, seed=seed)
        mesh = parallel.make_mesh(1)
        with precision.use_compute_dtype(dtype):
            fit(model, elbo_loss(), images, config=config, mesh=mesh, directory=folder, key=keys.train)
        return metrics.read(folder / "metrics.jsonl")["loss"]

    exact, found = (np.array([losses_in(dtype, seed) for seed in (0, 2)]) for dtype in ("float32", "bfloat16"))
    assert (exact[:, :10] > 40).all() and (exact[:, -10:] < 30).all()  # it does learn
    assert (found != exact).mean() > 0.9  # and does round
    assert abs((found - exact).mean()) < abs((exact[0] - exact[1]).mean()) / 2

"""How a model computes: chosen by the device, known to jit, in no file; and bfloat16 inside the steps, by hand."""

import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import ml_dtypes
import numpy as np
import pytest
import tiny_training

from vnca_jax import automaton, compute, conv, cpu_cache, data, metrics, parallel, update_networks
from vnca_jax.checkpoint import export_model, import_model
from vnca_jax.compute import Compute, Device
from vnca_jax.errors import InputError
from vnca_jax.losses import elbo_loss
from vnca_jax.models import DoublingVNCA, hyperparameters, replace
from vnca_jax.train import TrainConfig, fit, split_seed
from vnca_jax.update_networks import UPDATE_NETWORKS

FLOAT32, BFLOAT16 = (Compute(dtype, "winograd") for dtype in ("float32", "bfloat16"))


def rounded(x):
    return np.asarray(x, np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)


@pytest.mark.parametrize(
    ("platform", "capability", "dtype", "formulation"),
    [
        ("cpu", None, "float32", "winograd"),
        ("tpu", None, "bfloat16", "lax"),
        ("gpu", "9.0", "bfloat16", "lax"),
        ("gpu", "8.0", "bfloat16", "lax"),
        ("gpu", "7.5", "float32", "lax"),
        ("gpu", "6.0", "float32", "lax"),
        ("gpu", "gfx942", "bfloat16", "lax"),
    ],
)
def test_chosen_by_the_device(platform, capability, dtype, formulation, monkeypatch):
    device = types.SimpleNamespace(platform=platform, device_kind="a kind", compute_capability=capability)
    found = compute.choose(compute.describe(device))
    assert (found.dtype, found.formulation, found.recompute) == (dtype, formulation, False)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert compute.choose() == compute.choose(dtype="auto") == found
    for chosen in ("float32", "bfloat16"):
        assert compute.choose(dtype=chosen) == dataclasses.replace(found, dtype=chosen)


def test_v5e():
    """Float32 numbers, shifted grids and steps computed again; TPUs that the compiler was not asked about have none."""
    for kind in ("TPU v5 lite", "TPU v5e"):
        expected = Compute("float32", "shifted", True, 2, decode_bytes=compute.V5E_DECODE_BYTES)
        assert compute.choose(Device("tpu", kind, memory_bytes=4)) == expected
    for kind in ("TPU v3", "TPU v4", "TPU v6 lite", ""):
        assert compute.choose(Device("tpu", kind, memory_bytes=4)) == Compute("bfloat16", "lax", False, 2)


def test_room_by_the_device():
    """A CPU's cache, and half of an accelerator's memory, as JAX tells it or as described; 8 GiB where none does."""
    stats = {"bytes_limit": 40 << 30}
    told = types.SimpleNamespace(platform="gpu", device_kind="a kind", memory_stats=lambda: stats)
    silent = types.SimpleNamespace(platform="tpu", device_kind="a kind")
    assert compute.choose(compute.describe(told)).kept_bytes == 20 << 30
    assert compute.choose(compute.describe(silent)).kept_bytes == 4 << 30
    assert compute.choose(Device("tpu", memory_bytes=16 << 30)).kept_bytes == 8 << 30
    assert compute.choose(Device("tpu", memory_bytes=16 << 30)).cache_bytes is None
    assert compute.choose(Device("gpu")).decode_bytes is None
    assert compute.choose(Device("cpu", cache_bytes=1 << 19)).cache_bytes == 1 << 19
    assert compute.choose(Device("cpu")).cache_bytes == cpu_cache.USUAL_BYTES
    assert compute.choose().cache_bytes == cpu_cache.second_level_bytes()


def test_of_a_device_that_is_not_at_hand():
    """A model built for it, and what it compiles, has that device's settings."""
    v5e = Device("tpu", "TPU v5 lite")
    model = tiny_training.tiny_vnca(compute=compute.choose(v5e))
    assert (model.compute.dtype, model.compute.formulation) == ("float32", "shifted")
    a100 = tiny_training.tiny_vnca(compute=compute.choose(Device("gpu", "NVIDIA A100")))
    program = jax.jit(lambda model, z: model.decode(z)).lower(a100, jnp.zeros((1, 4))).as_text()
    assert "stablehlo.convolution" in program and "bf16" in program


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"formulation": "fft"},
            "There is no convolution formulation 'fft'; choose one of winograd, gather, lax, shifted.",
        ),
        ({"dtype": "float16"}, "There is no compute dtype 'float16'; choose one of float32, bfloat16."),
    ],
)
def test_unknown_settings(changes, sentence, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # its own error would come first
    arguments: Any = {"dtype": "float32", "formulation": "lax"} | changes
    with pytest.raises(InputError) as error:
        Compute(**arguments)
    assert str(error.value) == sentence


OTHERS = {
    "dtype": Compute("bfloat16", "winograd"),
    "formulation": Compute("float32", "gather"),
    "both": Compute("bfloat16", "lax"),
}
MODELS = {
    "doubling": lambda: tiny_training.tiny_vnca(num_doublings=3, num_blocks=1),
    "nondoubling": lambda: tiny_training.tiny_nondoubling(image_size=16, num_blocks=1, encoder_depth=1),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", MODELS)
def test_jit_knows_the_settings(name, other):
    """One jitted function, called with models of two settings by turns, gives the bits of two fresh ones."""

    def outputs(model, x):
        mean, log_variance = model.encode(x)
        return mean, log_variance, model.decode(mean)

    first = MODELS[name]()
    x = jnp.asarray(np.random.default_rng(0).integers(2, size=(2, 16, 16, 1)), jnp.float32)
    settings = [Compute("float32", "winograd"), OTHERS[other]]
    models = [replace(first, compute=one) for one in settings]
    assert [model.compute for model in models] == settings
    one = jax.jit(outputs)
    found = [one(model, x) for model in [*models, *models]]
    fresh = [jax.jit(lambda model, x: outputs(model, x))(model, x) for model in models]
    for ours, expected in zip(found, [*fresh, *fresh], strict=True):
        for array, other_array in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(array, other_array)
    assert (np.asarray(fresh[0][2]) != np.asarray(fresh[1][2])).any()


def test_no_part_of_the_file(tmp_path):
    """A file says nothing of it, is read for any, and may not choose it."""
    model = tiny_training.tiny_vnca(compute=Compute("bfloat16", "lax"))
    assert "compute" not in hyperparameters(model)
    path = tmp_path / "model.eqx"
    export_model(path, model)
    assert b"bfloat16" not in path.read_bytes()
    again, header = import_model(path)
    assert again.compute == compute.choose() and "compute" not in header["sizes"]
    chosen, _ = import_model(path, compute=Compute("float32", "gather"))
    assert chosen.compute == Compute("float32", "gather")
    for one, other in zip(jax.tree.leaves(model), jax.tree.leaves(chosen), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_by_hand():
    """z + u(z): parameters and z rounded to bfloat16 for u, each operation in it rounded once, z left as it is."""
    cells = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    network: Any = conv.Dense(3, 3, key=jr.key(0))
    found = automaton.run(network, cells, 1, compute=BFLOAT16)
    assert found.dtype == jnp.float32
    weight, bias = rounded(network.weight), rounded(network.bias)
    error = np.abs(np.asarray(found, np.float64) - cells - (rounded(cells) @ weight + bias))
    assert (error <= 2**-8 * (np.abs(rounded(cells)) @ np.abs(weight) + np.abs(bias))).all()
    in_float32 = automaton.run(network, cells, 1, compute=FLOAT32)
    assert 1e-3 < np.abs(found - in_float32).max() < 0.1


def test_gradients_are_summed_in_float32():
    """d/db of a sum over 2^14 cells and 8 steps is 2^17 to the bit; in bfloat16 sums stall at 2^8."""
    cells, steps = jnp.zeros((16, 32, 32, 1)), 8

    def total(bias):
        network = lambda cells: conv.add_bias(jnp.zeros_like(cells), bias.astype(cells.dtype))  # noqa: E731
        return automaton.run(network, cells, steps, compute=BFLOAT16).sum()

    assert jax.grad(total)(jnp.ones(1))[0] == 16 * 32 * 32 * steps


def test_gradients_against_float32():
    """Of every parameter after 40 steps, to a few roundings of 2^-9, though they are sums over all steps."""
    model = tiny_training.tiny_nondoubling(latent_size=8, hidden_size=16, num_steps=40, num_blocks=1)
    model = jax.tree.map(lambda leaf: leaf / 4, model)  # so that 40 steps stay in range
    z = jnp.asarray(np.random.default_rng(1).normal(size=(8, 8)), jnp.float32)

    gradient = jax.jit(jax.grad(lambda model: jnp.square(model.decode(z)).mean()))
    exact, found = (gradient(replace(model, compute=one)).update for one in (FLOAT32, BFLOAT16))
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

    def found_in(compute):
        def loss(network):
            grown = automaton.run(network, cells, 2, compute=compute)
            return jnp.square(grown).sum(), grown

        gradient, grown = jax.jit(jax.grad(loss, has_aux=True))(network)
        return [grown, *jax.tree.leaves(gradient)]

    for one, other in zip(found_in(FLOAT32), found_in(BFLOAT16), strict=True):
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
        cells |= {"encoder_width": 4, "encoder_depth": 1, "compute": compute.choose(dtype=dtype)}
        model = DoublingVNCA(**cells, num_blocks=1, key=keys.init)
        config = TrainConfig(num_updates=300, learning_rate=2e-3, seed=seed)
        mesh = parallel.make_mesh(1)
        fit(model, elbo_loss(), images, config=config, mesh=mesh, directory=folder, key=keys.train)
        return metrics.read(folder / "metrics.jsonl")["loss"]

    exact, found = (np.array([losses_in(dtype, seed) for seed in (0, 2)]) for dtype in ("float32", "bfloat16"))
    assert (exact[:, :10] > 40).all() and (exact[:, -10:] < 30).all()  # it does learn
    assert (found != exact).mean() > 0.9  # and does round
    assert abs((found - exact).mean()) < abs((exact[0] - exact[1]).mean()) / 2

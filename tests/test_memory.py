"""What is kept for the gradient: the plan by hand, and that computing again changes the memory and not the gradient."""

import types
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training

from vnca_jax import bounds, losses, memory
from vnca_jax.compute import Compute
from vnca_jax.memory import Plan
from vnca_jax.models import DoublingVNCA, replace

MODEL = types.SimpleNamespace(trajectory_size=100, recomputed_size=10)  # 400 and 40 bytes an example


def on(monkeypatch, backend, num_bytes):
    """As if JAX ran on `backend` with so many bytes of memory, of which the CPU has a fixed part."""
    stats = None if num_bytes is None else {"bytes_limit": num_bytes}
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "local_devices", lambda: [types.SimpleNamespace(memory_stats=lambda: stats)])
    monkeypatch.setattr(memory, "CPU_BYTES", num_bytes)


@pytest.mark.parametrize(
    ("backend", "num_bytes", "chunk_size", "expected"),
    [
        ("cpu", 12 * 400, None, Plan(12, False)),
        ("cpu", 12 * 400 - 1, None, Plan(6, False)),
        ("cpu", 5 * 400, None, Plan(4, False)),
        ("cpu", 1, None, Plan(1, False)),
        ("cpu", 1, 12, Plan(12, False)),
        ("gpu", 2 * 12 * 400, None, Plan(12, False)),
        ("gpu", 2 * 12 * 400 - 1, None, Plan(12, True)),
        ("tpu", 2 * 12 * 40, None, Plan(12, True)),
        ("tpu", 2 * 12 * 40 - 1, None, Plan(6, True)),
        ("gpu", 2 * 12 * 40, 4, Plan(4, True)),
        ("gpu", 2 * 4 * 400, 4, Plan(4, False)),
        ("gpu", 2 * 4 * 400, 5, Plan(4, True)),
        ("gpu", None, None, Plan(12, False)),
    ],
)
def test_plan_for_twelve_examples(backend, num_bytes, chunk_size, expected, monkeypatch):
    """A CPU keeps everything, of as many as fit; an accelerator, of whose memory half counts, takes all of them."""
    on(monkeypatch, backend, num_bytes)
    assert memory.plan(MODEL, 12, chunk_size=chunk_size) == expected


def test_a_model_without_steps_gains_nothing(monkeypatch):
    on(monkeypatch, "gpu", 2 * 6 * 400)
    assert memory.plan(types.SimpleNamespace(trajectory_size=100, recomputed_size=100), 12) == Plan(6, False)


def test_the_paper_s_steps_fit(monkeypatch):
    """All that a doubling step with a batch of 32 keeps is 4.3 GB: kept on an H100 and on a v5e core with 4 images."""
    skeleton = eqx.filter_eval_shape(DoublingVNCA, key=jr.key(0))
    assert 32 * 4 * skeleton.trajectory_size == 4_290_772_992
    assert 32 * 4 * skeleton.recomputed_size == 32 * 4 * (10_912 * 256 + 1024 * 3072) == 760_217_600
    for num_bytes, num_examples, expected in ((80 << 30, 32, False), (16 << 30, 4, False), (6 << 30, 32, True)):
        on(monkeypatch, "gpu", num_bytes)
        assert memory.plan(skeleton, num_examples) == Plan(num_examples, expected)


def test_recomputing_changes_the_memory_and_not_the_gradient():
    sizes = {"latent_size": 8, "hidden_size": 16, "num_steps": 24, "max_steps": 24, "num_blocks": 2, "image_size": 16}
    model = tiny_training.tiny_nondoubling(**sizes)
    x = jnp.asarray(np.random.default_rng(0).integers(2, size=(4, 16, 16, 1)), jnp.float32)
    noise = jnp.asarray(np.random.default_rng(1).normal(size=(4, 8)), jnp.float32)

    def compiled(again):
        chosen = replace(model, compute=Compute("float32", "winograd", recompute=again))
        gradient = jax.jit(jax.grad(lambda model: bounds.elbo(model, x, noise).elbo.mean())).lower(chosen).compile()
        found: Any = gradient.memory_analysis()
        return found.temp_size_in_bytes, gradient(chosen)

    (kept_bytes, kept), (again_bytes, again) = compiled(False), compiled(True)
    assert again_bytes < 0.4 * kept_bytes
    assert kept_bytes < 4 * 4 * model.trajectory_size < 1.5 * kept_bytes  # the estimate is a little above
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * float(jnp.abs(one).max()))


def test_a_loss_does_as_planned(monkeypatch):
    """What the plan says is what the model of a chunk's loss does; its gradient is that of the model that came in."""
    found, first = [], tiny_training.tiny_nondoubling()

    def loss(model, chunk):
        found.append((len(chunk[0]), model.compute.recompute))
        return chunk[0].mean() * model.update.out.sum(), chunk[0]

    monkeypatch.setattr(memory, "plan", lambda model, num_examples, chunk_size: Plan(2, chunk_size == 5))
    for chunk_size in (5, 6):
        value = partial(losses.mean_over_chunks, loss, examples=(jnp.zeros((4, 1)),), chunk_size=chunk_size)
        gradient, _ = jax.eval_shape(jax.grad(value, has_aux=True), first)
        assert jax.tree.structure(gradient) == jax.tree.structure(first)
    assert set(found) == {(2, True), (2, False)} and not first.compute.recompute

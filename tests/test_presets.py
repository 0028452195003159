"""The paper's presets trace a step at their full size, and a tiny model learns."""

import contextlib
import importlib
import types

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training
from test_experiments import EXPERIMENTS

from vnca_jax import elbo_loss, metrics, parallel
from vnca_jax.compute import choose
from vnca_jax.step import TrainState, make_optimizer, make_steps
from vnca_jax.train import TrainConfig, fit, split_seed


class Traced(Exception):
    """Ends an experiment where its training would begin."""


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_step_of_the_papers_preset(name, monkeypatch):
    """Its shapes fit together: the state after an update is as the one before, each term is one number per update."""
    module = importlib.import_module(f"experiments.{name}")
    config = module.PRESETS["paper"]
    mesh = parallel.make_mesh(1)

    def trace(model, loss, *, report):
        del report
        optimizer = make_optimizer(config.train.learning_rate)
        carry = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, loss.init(model)))
        state = TrainState(jnp.int32(0), model, jax.eval_shape(optimizer.init, model), carry, jr.key(0))
        images = jax.ShapeDtypeStruct((100, model.image_size, model.image_size, model.image_channels), jnp.uint8)
        steps = make_steps(
            loss, optimizer, mesh, batch_size=config.train.batch_size, max_steps=2, **config.train.of_steps
        )
        after, terms = jax.eval_shape(steps, state, images, 1)
        shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (state, after)]
        assert shapes[0] == shapes[1]
        assert {term.shape for term in terms.values()} == {(2,)} and {"loss", "kl", "gradient_norm"} <= terms.keys()
        raise Traced

    @contextlib.contextmanager
    def start(experiment, config):
        assert experiment == name
        keys = split_seed(0)
        yield types.SimpleNamespace(config=config, mesh=mesh, keys=keys, fit=trace, compute=choose())

    monkeypatch.setattr(module, "start", start)
    with pytest.raises(Traced):
        module.main(config)


def test_a_tiny_model_learns(tmp_path):
    """Two images of 4x4 pixels, equally frequent, have log p(x) = -log 2 = -0.69 nats; 16 coins have -11.09."""
    images = np.zeros((16, 4, 4, 1), np.uint8)
    images[::2, :, :2] = 1
    images[1::2, :2] = 1
    config = TrainConfig(num_updates=400, batch_size=16, learning_rate=2e-2, cooldown_updates=200)
    fit(tiny_training.tiny_vnca(), elbo_loss(), images, config=config, directory=tmp_path, mesh=parallel.make_mesh(1))
    loss = metrics.read(tmp_path / "metrics.jsonl")["loss"]
    assert loss[0] > 8 and np.log(2) - 0.1 < loss[-30:].mean() < 2

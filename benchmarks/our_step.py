"""A training step of ours, ready to be timed: what `train.fit` runs, on all cores, one step a device call."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from benchmarks.side_by_side import Prepared, time_compilation
from vnca_jax import parallel, train
from vnca_jax.losses import Loss
from vnca_jax.step import TrainState, make_optimizer, make_steps, place_state

SEED = 0


def all_cores() -> Mesh:
    """The mesh of a CPU's cores, before JAX has computed anything."""
    jax.config.update("jax_platforms", "cpu")
    parallel.use_all_cores()
    return parallel.make_mesh()


def make_step(
    loss: Loss, model: Any, carry: Any, batch_size: int, *, mesh: Mesh, key: PRNGKeyArray, max_steps: int = 1
) -> tuple[Any, TrainState, Any]:
    """`take_steps` of `train.fit` for up to `max_steps` steps per call, the state before the first, and a batch of
    random images. A step consumes its state, and so the model.
    """
    optimizer = make_optimizer(train.TrainConfig().learning_rate)
    state = TrainState(jnp.int32(0), model, optimizer.init(model), carry, key)
    state = place_state(state, mesh)
    shape = (batch_size, model.image_size, model.image_size, model.image_channels)
    images = np.random.default_rng(SEED).integers(0, 2, shape, dtype=np.uint8)
    images = parallel.place(images, mesh)
    return make_steps(loss, optimizer, mesh, batch_size=batch_size, max_steps=max_steps), state, images


def prepare_step(loss: Loss, model: Any, carry: Any, batch_size: int, *, mesh: Mesh, key: PRNGKeyArray) -> Prepared:
    """Steps on random images of the model's size, from the state of an untrained model and the first `carry`."""
    take_steps, state, images = make_step(loss, model, carry, batch_size, mesh=mesh, key=key)
    compiled, compile_s = time_compilation(take_steps.lower(state, images, 1))

    def run() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(compiled(state, images, 1))

    return Prepared(run, compile_s)

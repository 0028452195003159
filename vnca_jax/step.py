"""One update, state -> state, and many of them in one program. All that evolves is in the state."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray

from vnca_jax import parallel
from vnca_jax.data import stream
from vnca_jax.data.order import batch_order
from vnca_jax.losses import Batch, Loss
from vnca_jax.schedules import LearningRate, moving_average_decay

CLIP_NORM = 10.0


class TrainState(eqx.Module):
    """All that evolves: `carry` is what a loss hands from step to step (the pool), sharded along its first axis;
    `average` is a moving average of the model's parameters, or None.
    """

    step: Any
    model: Any
    opt_state: Any
    carry: Any
    key: Any
    average: Any = None

    @property
    def trained_model(self) -> Any:
        """What is evaluated, exported and drawn: the moving average of the parameters where one is kept."""
        return self.model if self.average is None else self.average


def make_optimizer(learning_rate: float) -> Any:
    """Adam on gradients whose global norm has been clipped to 10 (section 3), in this order."""
    return optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.adam(learning_rate))


def make_update(
    loss: Loss, optimizer: optax.GradientTransformation, *, learning_rate: LearningRate, ema_decay: float
) -> Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, dict[str, Array]]]:
    """One update `(state, batch, key) -> state, terms` of a device that has a part of the batch, inside `shard_map`.

    The update is scaled by the share of the learning rate at its step. After it the moving average, if the state has
    one, becomes d average + (1 - d) model, d = min(ema_decay, (1 + step) / (10 + step)).
    """

    def update(state, batch, key):
        model = jax.lax.pcast(state.model, parallel.AXIS, to="varying")  # or the gradient would be summed over devices
        (value, (carry, terms)), gradient = jax.value_and_grad(loss.apply, has_aux=True)(model, state.carry, batch, key)
        gradient, terms = jax.lax.pmean((gradient, {"loss": value, **terms}), parallel.AXIS)
        with jax.numpy_dtype_promotion("standard"):  # Adam raises a float to its integer count
            updates, opt_state = optimizer.update(gradient, state.opt_state, state.model)
        if not learning_rate.is_constant:
            share = learning_rate.share(state.step)
            updates = jax.tree.map(lambda update: share * update, updates)
        model, average = optax.apply_updates(state.model, updates), state.average
        if average is not None:
            decay = moving_average_decay(state.step, ema_decay)
            average = jax.tree.map(lambda mean, leaf: leaf + decay * (mean - leaf), average, model)
        terms["gradient_norm"] = optax.tree.norm(gradient)
        return TrainState(state.step + 1, model, opt_state, carry, state.key, average), terms

    return update


def make_steps(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    batch_size: int,
    max_steps: int,
    chunk_size: int | None = None,
    learning_rate: LearningRate = LearningRate(),  # noqa: B008 (frozen)
    ema_decay: float = 0.0,
    block_steps: int | None = None,
) -> Callable[[TrainState, Any, Any], tuple[TrainState, dict[str, Array]]]:
    """A compiled `take_steps(state, images, num_steps) -> state, terms`: up to `max_steps` updates in one program.

    The number of steps is a traced loop bound, so any grouping of updates into calls runs the same program and gives
    the same bits. `terms` holds `max_steps` values per name, of which the first `num_steps` are set. `images` is the
    dataset, or if `block_steps` is given a block of a BatchStream, which holds the batches of all these updates.
    """
    local_size = batch_size // mesh.size
    update = make_update(loss, optimizer, learning_rate=learning_rate, ema_decay=ema_decay)

    def run_steps(state, images, num_steps):
        order_key, noise_key = jr.split(state.key)
        index = jax.lax.axis_index(parallel.AXIS) * local_size + jnp.arange(local_size)
        if block_steps is None:
            order = batch_order(order_key, state.step, max_steps, batch_size, len(images))

        def one_step(i, state):
            some = images[order[i][index]] if block_steps is None else images[state.step % block_steps]
            batch = Batch(some.astype(jnp.float32), index, state.step, chunk_size)
            return update(state, batch, jr.fold_in(noise_key, state.step))

        def body(i, loop):
            state, terms = loop
            state, step_terms = one_step(i, state)
            return state, jax.tree.map(lambda all, one: all.at[i].set(one), terms, step_terms)

        shapes = jax.eval_shape(one_step, 0, state)[1]
        empty = jax.tree.map(lambda shape: jnp.zeros(max_steps, shape.dtype), shapes)
        return jax.lax.fori_loop(0, num_steps, body, (state, empty))

    spec = _state_spec()
    data_spec = parallel.REPLICATED if block_steps is None else stream.SPEC
    in_specs, out_specs = (spec, data_spec, parallel.REPLICATED), (spec, parallel.REPLICATED)
    return jax.jit(jax.shard_map(run_steps, mesh=mesh, in_specs=in_specs, out_specs=out_specs), donate_argnums=0)


def place_state(state: TrainState, mesh: Mesh) -> TrainState:
    """`state` on the devices of `mesh`: the carry sharded along its first axis, all else replicated."""
    everything = parallel.place(dataclasses.replace(state, carry=None), mesh)
    return dataclasses.replace(everything, carry=parallel.place(state.carry, mesh, parallel.SHARDED))


def _state_spec():
    everywhere = parallel.REPLICATED
    return TrainState(everywhere, everywhere, everywhere, parallel.SHARDED, everywhere, everywhere)

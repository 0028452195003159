"""One update, state -> state, and many of them in one device call. All that evolves is in the state."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.sharding import Mesh
from jaxtyping import Array

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


def make_advance(
    loss_fn: Loss,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    batch_size: int,
    max_steps: int,
    learning_rate: LearningRate = LearningRate(),  # noqa: B008 (frozen)
    ema_decay: float = 0.0,
    block_steps: int | None = None,
) -> Callable[[TrainState, Any, Any], tuple[TrainState, dict[str, Array]]]:
    """A compiled `advance(state, images, num_steps) -> state, terms`: up to `max_steps` updates in one device call.

    The number of steps is a traced loop bound, so any grouping of updates into calls runs the same program and gives
    the same bits. Each update is scaled by the share of the learning rate at its step. After it the moving average, if
    the state has one, becomes d average + (1 - d) model, d = min(ema_decay, (1 + step) / (10 + step)). `terms` holds
    `max_steps` values per name, of which the first `num_steps` are set. `images` is the dataset, or if `block_steps` is
    given a block of a BatchStream, which holds the batches of all these updates.
    """
    local_size = batch_size // mesh.size

    def run_steps(state, images, num_steps):
        order_key, noise_key = jr.split(state.key)
        index = jax.lax.axis_index(parallel.AXIS) * local_size + jnp.arange(local_size)
        if block_steps is None:
            order = batch_order(order_key, state.step, max_steps, batch_size, len(images))

        def one_step(i, state):
            some = images[order[i][index]] if block_steps is None else images[state.step % block_steps]
            batch = Batch(some.astype(jnp.float32), index, state.step)
            key = jr.fold_in(noise_key, state.step)
            gradient_of = jax.value_and_grad(loss_fn, has_aux=True)
            (loss, (carry, terms)), gradient = gradient_of(state.model, state.carry, batch, key)
            gradient, terms = jax.lax.pmean((gradient, {"loss": loss, **terms}), parallel.AXIS)
            with jax.numpy_dtype_promotion("standard"):  # Adam raises a float to its integer count
                updates, opt_state = optimizer.update(gradient, state.opt_state, state.model)
            if not learning_rate.is_constant:
                share = learning_rate.share(state.step)
                updates = jax.tree.map(lambda update: share * update, updates)
            model = optax.apply_updates(state.model, updates)
            average = state.average
            if average is not None:
                decay = moving_average_decay(state.step, ema_decay)
                average = jax.tree.map(lambda mean, leaf: leaf + decay * (mean - leaf), average, model)
            terms["gradient_norm"] = optax.tree.norm(gradient)
            return TrainState(state.step + 1, model, opt_state, carry, state.key, average), terms

        def body(i, loop):
            state, terms = loop
            state, step_terms = one_step(i, state)
            return state, jax.tree.map(lambda all, one: all.at[i].set(one), terms, step_terms)

        shapes = jax.eval_shape(one_step, 0, state)[1]
        empty = jax.tree.map(lambda shape: jnp.full(max_steps, jnp.nan, shape.dtype), shapes)
        return jax.lax.fori_loop(0, num_steps, body, (state, empty))

    spec = _state_spec()
    sharded = jax.shard_map(
        run_steps,
        mesh=mesh,
        in_specs=(spec, parallel.REPLICATED if block_steps is None else stream.SPEC, parallel.REPLICATED),
        out_specs=(spec, parallel.REPLICATED),
        check_vma=False,
    )
    return jax.jit(sharded, donate_argnums=0)


def place_state(state: TrainState, mesh: Mesh) -> TrainState:
    """`state` on the devices of `mesh`: the carry sharded along its first axis, all else replicated."""
    everything = parallel.place(dataclasses.replace(state, carry=None), mesh)
    return dataclasses.replace(everything, carry=parallel.place(state.carry, mesh, parallel.SHARDED))


def _state_spec():
    return TrainState(*[parallel.REPLICATED] * 3, parallel.SHARDED, *[parallel.REPLICATED] * 2)

"""Training: the state, one step, and one loop. A step is state -> state; all that evolves is in the state."""

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray, UInt8

from vnca_jax import parallel
from vnca_jax.checkpoint import Checkpoints
from vnca_jax.data import stream
from vnca_jax.data.order import batch_order
from vnca_jax.errors import InputError
from vnca_jax.losses import Batch, Loss
from vnca_jax.metrics import Metrics

CLIP_NORM = 10.0
MAX_STEPS_PER_CALL = 100
SECONDS_PER_CALL = 5.0


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the defaults are the paper's (section 3)."""

    num_updates: int = 100_000
    """Gradient updates in all; a resumed run may ask for more."""
    batch_size: int = 32
    """Images an update, over all devices."""
    learning_rate: float = 1e-4
    """Step size of Adam."""
    cooldown_updates: int = 0
    """Last updates, over which the step size falls linearly to zero; 0 keeps it constant, as the paper does."""
    seed: int = 0
    """The one seed, of parameters, order of the data and noise."""
    chunk_size: int | None = None
    """Images whose gradient a device computes at once, which sets memory; None is 0.5 GiB's worth on CPU, else all."""
    report_every: int = 5_000
    """Updates between reports (pictures of samples and reconstructions)."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept."""

    def __post_init__(self):
        for name in ("num_updates", "batch_size", "learning_rate", "report_every", "keep_checkpoints", "chunk_size"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"--{name.replace('_', '-')} is {value}, but must be positive.")
        if not 0 <= self.cooldown_updates <= self.num_updates:
            raise InputError(
                f"--cooldown-updates is {self.cooldown_updates}, but must be from 0 to --num-updates "
                f"({self.num_updates})."
            )
        if not self.checkpoint_minutes >= 0:
            raise InputError(f"--checkpoint-minutes is {self.checkpoint_minutes}, but must not be negative.")
        _check_seed(self.seed)

    @property
    def cooldown(self) -> range:
        """The steps over which the step size falls."""
        return range(self.num_updates - self.cooldown_updates, self.num_updates)


class Keys(NamedTuple):
    """The keys of one seed, each for one purpose."""

    init: PRNGKeyArray
    train: PRNGKeyArray
    evaluate: PRNGKeyArray
    draw: PRNGKeyArray


def split_seed(seed: int) -> Keys:
    """One seed, split once; raises InputError unless it has 32 bits, of which JAX would drop the others."""
    _check_seed(seed)
    return Keys(*jr.split(jr.key(seed), len(Keys._fields)))


class TrainState(eqx.Module):
    """All that evolves: `carry` is what a loss hands from step to step (the pool), sharded along its first axis."""

    step: Any
    model: Any
    opt_state: Any
    carry: Any
    key: Any


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
    cooldown: range = range(0),
    block_steps: int | None = None,
) -> Callable[[TrainState, Any, Any], tuple[TrainState, dict[str, Array]]]:
    """A compiled `advance(state, images, num_steps) -> state, terms`: up to `max_steps` updates in one device call.

    The number of steps is a traced loop bound, so any grouping of updates into calls runs the same program and gives
    the same bits. Over the steps in `cooldown` the updates are scaled from 1 down to 1 / len(cooldown). `terms` holds
    `max_steps` values a name, of which the first `num_steps` are set. `images` is the dataset, or if `block_steps` is
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
            batch = Batch(some.astype(jnp.float32), index)
            key = jr.fold_in(noise_key, state.step)
            gradient_of = jax.value_and_grad(loss_fn, has_aux=True)
            (loss, (carry, terms)), gradient = gradient_of(state.model, state.carry, batch, key)
            gradient, terms = jax.lax.pmean((gradient, {"loss": loss, **terms}), parallel.AXIS)
            with jax.numpy_dtype_promotion("standard"):  # Adam raises a float to its integer count
                updates, opt_state = optimizer.update(gradient, state.opt_state, state.model)
            if cooldown:
                rate = jnp.clip((cooldown.stop - state.step) / len(cooldown), 0, 1)
                updates = jax.tree.map(lambda update: rate * update, updates)
            model = optax.apply_updates(state.model, updates)
            terms["gradient_norm"] = optax.tree.norm(gradient)
            return TrainState(state.step + 1, model, opt_state, carry, state.key), terms

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


def fit(
    loss_fn: Loss,
    model: Any,
    carry: Any,
    images: UInt8[np.ndarray, "n h w c"],
    *,
    config: TrainConfig,
    mesh: Mesh,
    directory: Path,
    key: PRNGKeyArray,
    report: Callable[[int, Any], None] | None = None,
) -> TrainState:
    """Trains `model` for `config.num_updates` updates, or goes on from the newest checkpoint in `directory`.

    The result does not depend on interruptions, and on the number of devices only through the order of sums. Metrics
    and checkpoints go to `directory`; `report(step, model)` is called every `config.report_every` updates. On SIGINT or
    SIGTERM the state is saved and SystemExit raised. Raises InputError if the batch or the disk do not fit, and
    FloatingPointError, naming step and term, if a term is not finite.
    """
    parallel.check_divisible("--batch-size", config.batch_size, mesh)
    model, carry, key = jax.tree.map(jnp.copy, (model, carry, key))  # an update consumes its state, not the caller's
    optimizer = make_optimizer(config.learning_rate)
    state = place_state(TrainState(jnp.int32(0), model, optimizer.init(model), carry, key), mesh)
    checkpoints = Checkpoints(directory / "checkpoints", keep=config.keep_checkpoints)
    if checkpoints.latest_step() is not None:
        state = checkpoints.restore(state)
    step = int(state.step)
    max_steps = min(MAX_STEPS_PER_CALL, config.num_updates)
    sizes = {"batch_size": config.batch_size, "max_steps": max_steps, "cooldown": config.cooldown}
    source = stream.make_source(images, batch_size=config.batch_size, mesh=mesh, key=jr.split(state.key)[0])
    advance = make_advance(loss_fn, optimizer, mesh, **sizes, block_steps=source.block_steps)
    metrics = Metrics(directory, step=step, num_updates=config.num_updates)
    saved_at, steps_a_call = time.monotonic(), 1
    try:
        with _stop_requested() as stop:
            while step < config.num_updates:
                next_report = (step // config.report_every + 1) * config.report_every
                last = min(config.num_updates, next_report, step + source.steps_left(step))
                num_steps = min(steps_a_call, max_steps, last - step)
                state, terms, seconds = _timed(advance, state, source.block(step), num_steps)
                _record(metrics, step + 1, terms, seconds, checkpoints)
                step += num_steps
                steps_a_call = _next_call(steps_a_call, num_steps, seconds)
                due = time.monotonic() - saved_at >= 60 * config.checkpoint_minutes
                stopping = stop.is_set()  # asked once, so that what is said to be saved is saved
                if due or stopping or step == config.num_updates:
                    checkpoints.save(step, state)
                    saved_at = time.monotonic()
                if report and step == next_report:
                    report(step, state.model)
                if stopping and step < config.num_updates:
                    raise SystemExit(f"Stopped at update {step}, which is saved; the same command goes on from there.")
    finally:
        source.close()
        metrics.close()
        checkpoints.close()
    return state


def place_state(state: TrainState, mesh: Mesh) -> TrainState:
    """`state` on the devices of `mesh`: the carry sharded along its first axis, all else replicated."""
    everything = parallel.place(dataclasses.replace(state, carry=None), mesh)
    return dataclasses.replace(everything, carry=parallel.place(state.carry, mesh, parallel.SHARDED))


def _state_spec():
    return TrainState(*[parallel.REPLICATED] * 3, carry=parallel.SHARDED, key=parallel.REPLICATED)


def _timed(advance, state, images, num_steps):
    """One device call: the state, the terms of its updates on the host, and the seconds it took."""
    started_at = time.monotonic()
    state, terms = advance(state, images, num_steps)
    terms = {name: np.asarray(value)[:num_steps] for name, value in terms.items()}
    return state, terms, time.monotonic() - started_at


def _next_call(steps_a_call, num_steps, seconds):
    """How many steps fill SECONDS_PER_CALL, growing at most fourfold from call to call (the first one compiles)."""
    wanted = math.floor(SECONDS_PER_CALL / seconds * num_steps)
    return max(1, min(wanted, 4 * steps_a_call))


def _record(metrics, first_step, terms, seconds, checkpoints):
    """Adds updates to the metrics, up to one with a term that is not finite, which raises FloatingPointError."""
    (bad,) = np.nonzero(~np.isfinite([*terms.values()]).all(axis=0))
    num_good = bad[0] if len(bad) else len(terms["loss"])
    if num_good:
        metrics.add(first_step, {name: values[:num_good] for name, values in terms.items()}, seconds)
    if len(bad):
        wrong = {name: values[num_good] for name, values in terms.items() if not np.isfinite(values[num_good])}
        step = checkpoints.latest_step()
        kept = "no checkpoint had been saved" if step is None else f"the checkpoint of step {step} is kept"
        raise FloatingPointError(
            f"Update {first_step + num_good} gave {', '.join(f'{name} = {value}' for name, value in wrong.items())}; "
            f"{kept}. Try a lower --learning-rate or another --seed."
        )


def _check_seed(seed):
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed is {seed}, but must be from 0 to {2**32 - 1}.")


@contextmanager
def _stop_requested():
    """An event that SIGINT and SIGTERM set while the block runs; a second signal acts as if there were no block."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore():
        for number, handler in previous.items():
            signal.signal(number, handler)

    def request(_number, _frame):
        stop.set()
        restore()

    for number in previous:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        restore()

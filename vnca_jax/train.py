"""Training: its settings, its keys and the one loop."""

import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray, UInt8

from vnca_jax import parallel, processes
from vnca_jax.checkpoint import Checkpoints
from vnca_jax.data import stream
from vnca_jax.errors import InputError, Stopped
from vnca_jax.losses import Loss
from vnca_jax.metrics import Metrics
from vnca_jax.schedules import LearningRate, Shape
from vnca_jax.step import TrainState, make_optimizer, make_steps, place_state

MAX_STEPS_PER_CALL = 100
SECONDS_PER_CALL = 5.0
# Ctrl-C, a scheduler that ends a job (SLURM's --signal=USR1 before it does), a terminal or ssh that is closed.
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)  # Windows has the first two


def _check_seed(seed):
    if not 0 <= seed < 2**32:
        raise InputError(f"`seed` is {seed}, but must be from 0 to {2**32 - 1}.")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the defaults are the paper's (section 3)."""

    num_updates: int = 100_000
    """Gradient updates in total; a resumed run may ask for more."""
    batch_size: int = 32
    """Images per update, over all devices."""
    learning_rate: float = 1e-4
    """Learning rate of Adam."""
    cooldown_updates: int = 0
    """Updates at the end over which the learning rate falls; 0 keeps it constant, as in the paper."""
    seed: int = 0
    """Seed of everything: parameters, order of the data, noise."""
    chunk_size: int | None = None
    """Images whose gradient a device computes at once, to set memory; None is what fits a CPU's cache, else all."""
    report_every: int = 5_000
    """Updates between reports (pictures, and the page report.html)."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints."""
    keep_checkpoints: int = 2
    """Checkpoints to keep, the newest ones."""
    max_minutes: float | None = None
    """Minutes after which training saves and stops, with exit code 75; the same command resumes it."""
    warmup_updates: int = 0
    """Updates at the start over which the learning rate rises linearly from zero; 0 starts with all of it."""
    cooldown_shape: Shape = "linear"
    """How the learning rate falls over the last updates."""
    cooldown_to: float = 0.0
    """Share of the learning rate that it falls to."""
    ema_decay: float = 0.0
    """Decay per update of a moving average of the parameters, which is then what is evaluated, exported and drawn; 0
    keeps none."""

    def __post_init__(self):
        positive = ("num_updates", "batch_size", "learning_rate", "report_every", "keep_checkpoints", "chunk_size")
        for name in (*positive, "max_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"`{name}` is {value}, but must be positive.")
        if not 0 <= self.cooldown_updates <= self.num_updates:
            raise InputError(
                f"`cooldown_updates` is {self.cooldown_updates}, but must be from 0 to `num_updates` "
                f"({self.num_updates})."
            )
        for name in ("checkpoint_minutes", "warmup_updates"):
            if not getattr(self, name) >= 0:
                raise InputError(f"`{name}` is {getattr(self, name)}, but must be at least 0.")
        for name in ("cooldown_to", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"`{name}` is {getattr(self, name)}, but must be at least 0 and below 1.")
        _check_seed(self.seed)

    @property
    def of_steps(self) -> dict[str, Any]:
        """What `make_steps` is told of the configuration, beside sizes."""
        cooldown = range(self.num_updates - self.cooldown_updates, self.num_updates)
        learning_rate = LearningRate(self.warmup_updates, cooldown, self.cooldown_shape, self.cooldown_to)
        return {"learning_rate": learning_rate, "ema_decay": self.ema_decay, "chunk_size": self.chunk_size}


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


def fit(
    model: Any,
    loss: Loss,
    images: UInt8[np.ndarray, "n h w c"],
    *,
    directory: str | os.PathLike[str],
    config: TrainConfig = TrainConfig(),
    mesh: Mesh | None = None,
    key: PRNGKeyArray | None = None,
    report: Callable[[int, Any], dict[str, float] | None] | None = None,
) -> TrainState:
    """Trains `model` for `config.num_updates` updates, or resumes from the newest checkpoint in `directory`.

    All devices are used unless a `mesh` is given, and the key of `config.seed` unless a `key` is. The result does not
    depend on interruptions, and on the number of devices only through the order of sums. Metrics and checkpoints go to
    `directory`. Every `config.report_every` updates `report(step, model)` gets the model that would be exported then;
    what it returns goes to `directory/reports.jsonl`. On a signal of STOPPING or after `config.max_minutes` the state
    is saved and Stopped raised. The host writes the metrics of some updates while the next ones run. Several processes
    all call this: the first one decides when to save and to stop (a signal to any stops all) and writes the metrics;
    all report. Raises InputError if the batch or the disk do not fit, and FloatingPointError, naming step and term, if
    a term is not finite.
    """
    started_at = time.monotonic()
    directory, mesh = Path(directory), mesh or parallel.make_mesh()
    key = split_seed(config.seed).train if key is None else key
    parallel.check_divisible("batch_size", config.batch_size, mesh.size)
    optimizer = make_optimizer(config.learning_rate)
    checkpoints = Checkpoints(directory / "checkpoints", keep=config.keep_checkpoints)
    state = _start(model, loss.init(model), key, optimizer, mesh, checkpoints, config)
    step, max_steps = int(state.step), min(MAX_STEPS_PER_CALL, config.num_updates)
    source = stream.make_source(images, batch_size=config.batch_size, mesh=mesh, key=jr.split(state.key)[0])
    sizes = {"batch_size": config.batch_size, "max_steps": max_steps, "block_steps": source.block_steps}
    take_steps = make_steps(loss, optimizer, mesh, **sizes, **config.of_steps)
    metrics = Metrics(directory, step=step, num_updates=config.num_updates) if processes.is_first() else None
    calls, saved_at = _Calls(metrics, checkpoints), time.monotonic()
    try:
        with _stop_requested() as stop:
            while step < config.num_updates:
                next_report = (step // config.report_every + 1) * config.report_every
                last = min(config.num_updates, next_report, step + source.steps_left(step))
                num_steps = processes.agree(min(calls.num_steps, max_steps, last - step))
                state, terms = take_steps(state, source.block(step), num_steps)
                calls.started(step + 1, num_steps, terms)
                step += num_steps
                stopping, due = _interruption(stop, started_at, saved_at, config)
                saving, reporting = due or step == config.num_updates, step == next_report
                if saving or reporting:
                    calls.finish()
                if saving:
                    checkpoints.save(step, state)
                    saved_at = time.monotonic()
                if reporting:
                    _report(report, step, state, metrics)
                if stopping and step < config.num_updates:
                    raise Stopped(f"Stopped at update {step}, which is saved; the same command resumes it.")
    finally:
        for opened in (source, metrics, checkpoints):
            if opened:
                opened.close()
    return state


def _start(model, carry, key, optimizer, mesh, checkpoints, config):
    """The newest state, or the first one, in arrays of its own, since an update consumes those of its state."""
    average = model if config.ema_decay else None
    model, carry, key, average = jax.tree.map(jnp.copy, (model, carry, key, average))
    state = place_state(TrainState(jnp.int32(0), model, optimizer.init(model), carry, key, average), mesh)
    return state if checkpoints.latest_step() is None else checkpoints.restore(state)


def _report(report, step, state, metrics):
    """Calls `report`, if there is one, and records what it returns."""
    found = report(step, jax.device_get(state.trained_model)) if report else None
    if found and metrics:
        metrics.add_report(step, found)


def _interruption(stop, started_at, saved_at, config):
    """Whether to stop and whether to save, by the first process's clock and the signals to all of them; asked once a
    call, so that what is said to be saved is saved.
    """
    now = time.monotonic()
    out_of_time = config.max_minutes is not None and now - started_at >= 60 * config.max_minutes
    stopping = processes.anywhere(stop.is_set()) or out_of_time
    return processes.agree((stopping, stopping or now - saved_at >= 60 * config.checkpoint_minutes))


class _Calls:
    """Device calls: the newest one may be under way while the metrics of the one before it are written."""

    def __init__(self, metrics: Metrics | None, checkpoints: Checkpoints):
        self.num_steps = 1  # that a call should have
        self._metrics = metrics
        self._checkpoints = checkpoints
        self._newest: tuple[int, int, Any, float] | None = None
        self._finished_at = 0.0

    def started(self, first_step: int, num_steps: int, terms: Any) -> None:
        """Takes note of a call that has just been started, and finishes the one before it."""
        newest = first_step, num_steps, terms, time.monotonic()
        self.finish()
        self._newest = newest

    def finish(self) -> None:
        """Waits for the newest call and writes its metrics; then decides how many steps fill SECONDS_PER_CALL, growing
        at most fourfold from call to call (the first one compiles).
        """
        if self._newest is None:
            return
        first_step, num_steps, terms, started_at = self._newest
        self._newest = None
        terms = {name: np.asarray(value)[:num_steps] for name, value in terms.items()}
        now = time.monotonic()
        seconds, self._finished_at = now - max(started_at, self._finished_at), now
        _record(self._metrics, first_step, terms, seconds, self._checkpoints)
        wanted = math.floor(SECONDS_PER_CALL / seconds * num_steps)
        self.num_steps = max(1, min(wanted, 4 * self.num_steps))


def _record(metrics, first_step, terms, seconds, checkpoints):
    """Adds updates to the metrics, up to one with a term that is not finite, which raises FloatingPointError."""
    (bad,) = np.nonzero(~np.isfinite([*terms.values()]).all(axis=0))
    num_good = bad[0] if len(bad) else len(terms["loss"])
    if num_good and metrics:
        metrics.add(first_step, {name: values[:num_good] for name, values in terms.items()}, seconds)
    if len(bad):
        wrong = {name: values[num_good] for name, values in terms.items() if not np.isfinite(values[num_good])}
        step = checkpoints.latest_step()
        kept = "no checkpoint had been saved" if step is None else f"the checkpoint of step {step} is kept"
        raise FloatingPointError(
            f"Update {first_step + num_good} gave {', '.join(f'{name} = {value}' for name, value in wrong.items())}; "
            f"{kept}. Try a lower `learning_rate` or another `seed`."
        )


@contextmanager
def _stop_requested():
    """An event that STOPPING set while the block runs; a second signal acts as if there were no block.

    One that is ignored, as `nohup` has it with SIGHUP, stays so.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN}

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

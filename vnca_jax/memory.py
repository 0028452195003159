"""What is kept for the gradient, and what is computed again instead: chosen by the backend and its memory.

A CPU computes a batch in chunks that are small enough for everything to be kept, which costs it nothing. An accelerator
is fast at large dots only, so it takes the whole batch: if not everything can be kept, the cells after each step are,
and the inside of a step is computed again for the gradient (a third more operations, a tenth of the memory).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from vnca_jax.models import replace

CPU_BYTES = 1 << 29  # of activations that a device keeps for the gradient
KEPT_SHARE = 0.5  # of an accelerator's memory, likewise; the rest is for parameters, data and temporary arrays
UNKNOWN_BYTES = 8 << 30  # of memory, for an accelerator that does not tell
BYTES_A_NUMBER = 4


class Plan(NamedTuple):
    """How the gradient of a device's examples is computed: so many at a time, the inside of each step kept or not."""

    chunk_size: int
    recompute: bool


def plan(model: Any, num_examples: int, *, chunk_size: int | None = None) -> Plan:
    """What a device has memory for; a `chunk_size` that is given is taken. Chunks are made to divide the examples.

    `model.trajectory_size` numbers are kept for an example, `model.recomputed_size` if its steps are computed again.
    """
    available, is_cpu = _budget(), jax.default_backend() == "cpu"
    kept, recomputed = (
        max(1, available // (BYTES_A_NUMBER * size)) for size in (model.trajectory_size, model.recomputed_size)
    )
    wanted = min(chunk_size or num_examples, num_examples)
    again = not is_cpu and kept < wanted and kept < recomputed
    if chunk_size is None:
        wanted = min(wanted, recomputed if again else kept)
    while num_examples % wanted:
        wanted -= 1
    return Plan(wanted, again)


def recomputing(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The same loss of a model whose steps are computed again for the gradient."""

    def of_recomputing(model, examples):
        return loss(replace(model, compute=dataclasses.replace(model.compute, recompute=True)), examples)

    return of_recomputing


def _budget() -> int:
    """Bytes of activations that a device may keep for the gradient."""
    if jax.default_backend() == "cpu":
        return CPU_BYTES
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", UNKNOWN_BYTES)
    return int(KEPT_SHARE * limit)

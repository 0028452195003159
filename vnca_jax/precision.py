"""The floating-point type that an automaton's dots and convolutions compute in; all else is float32.

bfloat16 has float32's range and 8 bits of mantissa, moves half of the bytes, and is what the matrix units of TPUs and
of GPUs since Ampere are fastest at. The parameters, the cells that the steps add up, the gradients that they add up,
bounds and the optimizer stay float32, so what is rounded is what happens inside one step.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, Literal

import equinox as eqx
import jax
from jaxtyping import Array, Float

ComputeDtype = Literal["auto", "float32", "bfloat16"]
AMPERE = (8, 0)  # the compute capability since which NVIDIA's GPUs have bfloat16
_override: contextvars.ContextVar[ComputeDtype] = contextvars.ContextVar("compute_dtype", default="auto")


def compute_dtype() -> Literal["float32", "bfloat16"]:
    """The type in force: the innermost `use_compute_dtype`, else bfloat16 where JAX's default device is good at it."""
    chosen = _override.get()
    if chosen == "auto":
        return "bfloat16" if _has_bfloat16(jax.devices()[0]) else "float32"
    return chosen


@contextlib.contextmanager
def use_compute_dtype(name: ComputeDtype) -> Iterator[None]:
    """Compute automata traced inside the block in the type `name`; auto is the one that the device is good at."""
    token = _override.set(name)
    try:
        yield
    finally:
        _override.reset(token)


def apply(network: Callable[..., Array], x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
    """network(x) computed in the type in force, its parameters and x rounded to it, as an array of x's type."""
    dtype = compute_dtype()
    if x.dtype == dtype:
        return network(x)
    lowered = jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, network)
    return lowered(x.astype(dtype)).astype(x.dtype)


def _has_bfloat16(device: Any) -> bool:
    if device.platform != "gpu":
        return device.platform == "tpu"
    try:
        major, minor = str(device.compute_capability).split(".")
        return (int(major), int(minor)) >= AMPERE
    except (AttributeError, ValueError):  # AMD's name their chip; those that JAX supports have bfloat16
        return True

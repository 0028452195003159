"""JAX's start: its variables, its switches and its devices, of which a command hears before it does anything else."""

import os
import sys
from pathlib import Path

from vnca_jax.errors import InputError

try:
    import jax
    import jax.numpy as jnp
except ValueError as error:  # of a variable that is set to what JAX does not take
    _sentence = f"JAX refuses a variable of the environment ({error}): unset it, or set it to what JAX takes."
    if sys.argv[0] == "-m" or Path(sys.argv[0]).name == "vnca":  # one of our commands, which ends with a sentence
        print(f"error: {_sentence}", file=sys.stderr)
        sys.exit(2)
    raise InputError(_sentence) from error

PRNG = "threefry2x32"


def check() -> None:
    """Starts JAX's devices; raises InputError where they cannot start or compute, or a switch is set that cannot work.

    To be called once, before data or models are read.
    """
    if jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise InputError("JAX_ENABLE_X64 is set, but the project computes in float32: unset it.")
    prng = jax.config.jax_default_prng_impl  # pyright: ignore[reportAttributeAccessIssue]
    if prng != PRNG:
        raise InputError(
            f"JAX_DEFAULT_PRNG_IMPL is {prng}, but only {PRNG} gives the same numbers on any devices: unset it."
        )
    try:
        jax.devices()
        if jax.config.jax_default_matmul_precision is not None:  # pyright: ignore[reportAttributeAccessIssue]
            for dtype in (jnp.float32, jnp.bfloat16):
                jnp.dot(jnp.ones((2, 2), dtype), jnp.ones((2, 2), dtype), preferred_element_type=jnp.float32)
    except Exception as error:  # of many types, from JAX and from its plugins
        raise InputError(
            f"JAX cannot compute here ({type(error).__name__}: {_reason(error)}){_variables()}: choose what this "
            "machine has, or unset it."
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of what JAX says; of an error without words that of what it hides."""
    while not str(error) and (behind := error.__cause__ or error.__context__) is not None:
        error = behind
    return (str(error).splitlines() or [type(error).__name__])[0]


def _variables() -> str:
    """The variables that say what JAX computes on, with their values, as a part of a sentence."""
    names = ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "JAX_DEFAULT_MATMUL_PRECISION", "XLA_FLAGS")
    given = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    return f" with {' and '.join(given)}" if given else ""

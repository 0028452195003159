"""Programs of many devices, counted on a CPU that stands for all of them."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax


def show(num_devices: int) -> None:
    """Makes this process's CPU so many devices, and its programs quick to compile; before JAX's first computation."""
    others = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag]
    os.environ["XLA_FLAGS"] = " ".join([*others, "--xla_backend_optimization_level=0"])
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", num_devices)
    jax.config.update("jax_enable_compilation_cache", False)


def with_devices(num_devices: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function`, one at the top of a module, returns in a process of its own that has so many CPU devices."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=show, initargs=(num_devices,)) as executor:
        return executor.submit(function, *arguments).result()

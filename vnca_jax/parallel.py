"""Devices: a mesh with one axis, along which batches and carried states are sharded and parameters are replicated."""

import contextlib
import os
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vnca_jax.errors import InputError

AXIS = "devices"
REPLICATED = PartitionSpec()
SHARDED = PartitionSpec(AXIS)

MAX_CPU_DEVICES = 8

T = TypeVar("T")


def use_all_cores() -> None:
    """Makes JAX show a CPU as one device for each two-power of its cores, up to 8, unless the user has chosen a number.

    Much of a narrow automaton's work is done by one thread a device, so two devices use two cores better than one does.
    Has an effect only before JAX's first computation, and none on accelerators.
    """
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not chosen and jax.config.jax_num_cpu_devices < 1:  # pyright: ignore[reportAttributeAccessIssue]
        cores = min(os.cpu_count() or 1, MAX_CPU_DEVICES)
        with contextlib.suppress(RuntimeError):  # too late: JAX has its devices
            jax.config.update("jax_num_cpu_devices", 1 << (cores.bit_length() - 1))


def make_mesh(num_devices: int | None = None) -> Mesh:
    """A one-axis mesh over the first `num_devices` devices, or all; raises InputError if there are not so many."""
    devices = jax.devices()
    if num_devices is not None and not 1 <= num_devices <= len(devices):
        raise InputError(
            f"{num_devices} devices were asked for, but JAX sees {len(devices)} ({devices[0].platform}); "
            "ask for at least one and no more than that."
        )
    return Mesh(np.array(devices[:num_devices]), (AXIS,))


def check_divisible(name: str, size: int, mesh: Mesh) -> None:
    """Raises InputError unless `size` can be shared evenly among the devices of `mesh`."""
    if size < 1 or size % mesh.size:
        raise InputError(
            f"{name} is {size}, but must be a positive multiple of the number of devices, {mesh.size}; "
            "change it or choose the number with --num-devices."
        )


def place(tree: T, mesh: Mesh, spec: PartitionSpec = REPLICATED) -> T:
    """The arrays of `tree` on the devices of `mesh`: replicated, or sharded along their first axis."""
    return jax.device_put(tree, NamedSharding(mesh, spec))

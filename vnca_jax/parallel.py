"""Devices: a mesh with one axis, along which batches and carried states are sharded and parameters are replicated."""

from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vnca_jax.errors import InputError

AXIS = "devices"
REPLICATED = PartitionSpec()
SHARDED = PartitionSpec(AXIS)

T = TypeVar("T")


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

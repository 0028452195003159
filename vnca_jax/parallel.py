"""Devices: a mesh with one axis, along which batches and carried states are sharded and parameters are replicated.

The mesh spans the devices of all processes. Each of them holds the whole of what it places, makes only the parts that
its own devices hold, and gets the whole back.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from vnca_jax import processes
from vnca_jax.errors import InputError

AXIS = "devices"
REPLICATED = PartitionSpec()
SHARDED = PartitionSpec(AXIS)

MAX_CPU_DEVICES = 8

T = TypeVar("T")


def use_all_cores() -> None:
    """Makes JAX show a CPU as several devices, unless the user has chosen a number: the largest power of two, at most
    8, for which there are cores that this process may use.

    Much of a narrow automaton's work is done by one thread a device, so two devices use two cores better than one does.
    Has an effect only before JAX's first computation, and none on accelerators.
    """
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not chosen and jax.config.jax_num_cpu_devices < 1:  # pyright: ignore[reportAttributeAccessIssue]
        cores = min(allowed_cores(), MAX_CPU_DEVICES)
        with contextlib.suppress(RuntimeError):  # too late: JAX has its devices
            jax.config.update("jax_num_cpu_devices", 1 << (cores.bit_length() - 1))


def allowed_cores() -> int:
    """The cores that this process may use, which `taskset` or a scheduler may have made fewer than there are."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_mesh(num_devices: int | None = None) -> Mesh:
    """A one-axis mesh over the first `num_devices` devices, or all; of several processes each gives as many.

    Raises InputError if there are not so many, or they cannot be shared evenly among the processes.
    """
    devices, num_processes = jax.devices(), jax.process_count()
    if num_devices is not None and not 1 <= num_devices <= len(devices):
        raise InputError(
            f"{num_devices} devices were asked for, but JAX sees {len(devices)} ({devices[0].platform}); "
            "ask for at least one and no more than that."
        )
    if num_devices is not None and num_devices % num_processes:
        raise InputError(
            f"{num_devices} devices were asked for, but {num_processes} processes must have equally many: ask for a "
            f"multiple of {num_processes}."
        )
    devices = sorted(devices, key=lambda device: device.process_index)  # so that a process's parts are one piece
    if num_devices is not None:
        by_process = np.array(devices).reshape(num_processes, -1)
        devices = by_process[:, : num_devices // num_processes].ravel()
    return Mesh(np.array(devices), (AXIS,))


def check_divisible(field: str, size: int, num_devices: int) -> None:
    """Raises InputError unless `size`, the value of `field`, can be shared evenly among the devices."""
    if size < 1 or size % num_devices:
        raise InputError(
            f"`{field}` is {size}, but must be a positive multiple of the number of devices, {num_devices}; "
            "change it or choose the number with `num_devices`."
        )


def place(tree: T, mesh: Mesh, spec: PartitionSpec = REPLICATED) -> T:
    """The arrays of `tree` on the devices of `mesh`: replicated, or sharded along their first axis."""
    sharding = NamedSharding(mesh, spec)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(partial(_own_parts, sharding), tree)


def _own_parts(sharding: NamedSharding, leaf: Any) -> Any:
    """`leaf`, which every process has, on the devices of all: each puts the parts of its own devices there."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jr.wrap_key_data(_own_parts(sharding, jr.key_data(leaf)), impl=jr.key_impl(leaf))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def own_part(size: int, mesh: Mesh) -> slice:
    """Which part of an axis of `size` that is sharded over `mesh` the devices of this process hold."""
    indices = NamedSharding(mesh, SHARDED).addressable_devices_indices_map((size,)).values()
    ranges = [range(size)[index[0]] for index in indices if index is not None]
    return slice(min(one.start for one in ranges), max(one.stop for one in ranges))


def fetch(tree: Any) -> Any:
    """The whole arrays of `tree` on the host; all processes must call this if they hold parts of one."""

    def whole(leaf):
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        jax.block_until_ready(leaf)
        processes.meet()  # since a collective on CPUs waits for none that comes late
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(whole, tree)


def batches(count: int, size: int) -> Iterator[tuple[Int[np.ndarray, " size"], int]]:
    """The places of `count` examples, `size` at a time, and how many of them count: where the last batch is short, its
    last example comes again, so that all have one shape.
    """
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1), min(size, count - start)

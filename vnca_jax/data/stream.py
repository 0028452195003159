"""Where the images of an update come from: the dataset on every device, or batches that travel a block ahead."""

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from vnca_jax import parallel
from vnca_jax.data.order import INT32_MAX, batch_order

SPEC = PartitionSpec(None, parallel.AXIS)

_order = jax.jit(batch_order, static_argnums=(2, 3, 4))


DEVICE_BYTES = {"tpu": 4 << 30, "gpu": 8 << 30}  # of images that a device holds
DEFAULT_DEVICE_BYTES = 8 << 30
BLOCK_BYTES = 256 << 20  # of batches that travel at once


class Resident:
    """The whole dataset, on every device."""

    block_steps = None

    def __init__(self, images: UInt8[np.ndarray, "n h w c"], mesh: Mesh):
        self._images: Any = parallel.place(images, mesh)

    def block(self, step: int) -> UInt8[Array, "n h w c"]:
        """All images, whatever the update."""
        return self._images

    def steps_left(self, step: int) -> int:
        """As many updates as there can be."""
        return INT32_MAX - step

    def close(self) -> None:
        """Nothing to stop."""


def make_source(
    images: UInt8[np.ndarray, "n h w c"], *, batch_size: int, mesh: Mesh, key: PRNGKeyArray
) -> "Resident | BatchStream":
    """The dataset on every device if it is small enough for the backend, else a stream of its batches."""
    if images.nbytes <= DEVICE_BYTES.get(jax.default_backend(), DEFAULT_DEVICE_BYTES):
        return Resident(images, mesh)
    block_steps = max(1, BLOCK_BYTES // (batch_size * images[0].nbytes))
    return BatchStream(images, batch_size=batch_size, block_steps=block_steps, mesh=mesh, key=key)


class BatchStream:
    """The batches of every update, in blocks of `block_steps` updates that begin at multiples of it.

    A block has the shape (block_steps, batch, h, w, c) and is sharded along its second axis. Update s finds its batch
    at place s % block_steps, and the same images in it as `order.batch_order` with the same key tells. While a block is
    used, a thread gathers the next one from `images`, which may be memory-mapped, and places it on the devices; of
    several processes each gathers the part of its own devices. So two blocks take memory there. Close it, or use it in
    a `with` statement, to stop the thread.
    """

    def __init__(
        self,
        images: UInt8[np.ndarray, "n h w c"],
        *,
        batch_size: int,
        block_steps: int,
        mesh: Mesh,
        key: PRNGKeyArray,
    ):
        self.block_steps = block_steps
        self._images = images
        self._mesh = mesh
        self._key_data, self._key_kind = np.asarray(jr.key_data(key)), jr.key_impl(key)
        self._sizes = (block_steps, batch_size, len(images))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._blocks: dict[int, Future[Array]] = {}

    def block(self, step: int) -> UInt8[Array, "block_steps batch h w c"]:
        """The block with the batch of update `step`, waited for if need be; starts on the one after it.

        Any step may follow any other. What went wrong on the thread is raised here, and the next call tries again.
        """
        wanted = step // self.block_steps
        self._blocks = {number: block for number, block in self._blocks.items() if number in (wanted, wanted + 1)}
        try:
            block = self._start(wanted).result()
        except BaseException:
            self._blocks.pop(wanted, None)
            raise
        self._start(wanted + 1)
        return block

    def steps_left(self, step: int) -> int:
        """How many updates from update `step` on have their batches in the block of that one."""
        return self.block_steps - step % self.block_steps

    def close(self) -> None:
        """Waits for what the thread is doing and gives the blocks up."""
        self._thread.shutdown(cancel_futures=True)
        self._blocks.clear()

    def __enter__(self) -> "BatchStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, number: int) -> "Future[Array]":
        if number not in self._blocks:
            self._blocks[number] = self._thread.submit(self._make, number)
        return self._blocks[number]

    def _make(self, number: int) -> Array:
        indices = self._indices(number * self.block_steps)
        own = gather(self._images, indices[:, parallel.own_part(indices.shape[1], self._mesh)])
        shape = (*indices.shape, *own.shape[2:])
        sharding = NamedSharding(self._mesh, SPEC)
        return jax.block_until_ready(jax.make_array_from_process_local_data(sharding, own, shape))

    def _indices(self, start_step: int) -> Int[np.ndarray, "steps batch"]:
        """On the CPU, because an accelerator would answer only after the updates that it is working on."""
        with _on_cpu():
            key = jr.wrap_key_data(jnp.asarray(self._key_data), impl=self._key_kind)
            return np.asarray(_order(key, jnp.int32(start_step), *self._sizes))


def gather(
    images: UInt8[np.ndarray, "n h w c"], indices: Int[np.ndarray, "steps batch"]
) -> UInt8[np.ndarray, "steps batch h w c"]:
    """`images[indices]`, read in the order in which they lie on the disk."""
    places = np.argsort(indices, axis=None, kind="stable")
    gathered = np.empty((indices.size, *images.shape[1:]), np.uint8)
    gathered[places] = images[indices.reshape(-1)[places]]
    return gathered.reshape(*indices.shape, *images.shape[1:])


def _on_cpu() -> contextlib.AbstractContextManager[object]:
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # $JAX_PLATFORMS leaves no CPU
        return contextlib.nullcontext()

"""What the pool of a training step moves between devices and keeps on each, counted in compiled programs, not run.

Ours stands beside the plain way to draw from a sharded pool: gather all of it on every device, and take what is drawn.
Both see the same pool, the same draw and the same new states, and put them back in the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PRNGKeyArray

from benchmarks.collective_bytes import collective_bytes
from vnca_jax import parallel
from vnca_jax import pool as pools
from vnca_jax.models import NonDoublingVNCA

NUM_DEVICES = (1, 2, 4, 8)
POOL_SIZES = (256, 1024, 4096, 16384)

Draw = Callable[..., pools.Drawn]


@dataclass(frozen=True)
class Sizes:
    """What decides how much moves: images of a batch, their side and channels, and the numbers of a cell."""

    batch_size: int
    image_size: int
    image_channels: int
    cell_size: int

    @property
    def state_bytes(self) -> int:
        """Bytes of an image (uint8) and its cells (float32)."""
        return self.image_size**2 * (self.image_channels + 4 * self.cell_size)


@dataclass(frozen=True)
class Program:
    """Bytes that a device receives in one step, by kind of collective, and those that its program holds."""

    moved: dict[str, int]
    argument_bytes: int
    temporary_bytes: int

    @property
    def moved_bytes(self) -> int:
        """Of all kinds."""
        return sum(self.moved.values())

    @property
    def held_bytes(self) -> int:
        """Arguments and temporary arrays."""
        return self.argument_bytes + self.temporary_bytes


@dataclass(frozen=True)
class Traffic:
    """The pool's part of a step on so many devices: bytes of a device's slots, our program, and the gathering one."""

    num_devices: int
    pool_size: int
    pool_bytes: int
    ours: Program
    gathering: Program


def draw_from_gathered(pool: pools.Pool, num_drawn: int, *, key: PRNGKeyArray) -> pools.Drawn:
    """What `pools.draw` gives, from all slots of all devices brought together on each: inside `shard_map`."""
    whole = jax.tree.map(partial(jax.lax.all_gather, axis_name=parallel.AXIS, tiled=True), pool)
    num_filled, num_slots = jax.lax.psum(pool.filled.sum(), parallel.AXIS), len(whole.filled)
    order = jr.permutation(key, num_slots)
    slots = jnp.argsort(order + num_slots * (jnp.arange(num_slots) >= num_filled))[:num_drawn]
    num_mine = num_drawn // jax.lax.axis_size(parallel.AXIS)
    mine = jax.lax.dynamic_slice_in_dim(slots, jax.lax.axis_index(parallel.AXIS) * num_mine, num_mine)
    return pools.Drawn(whole.images[mine], whole.cells[mine], num_filled > num_drawn)


def make_pool_step(draw: Draw, mesh: Mesh, batch_size: int) -> Any:
    """The pool's part of a step, to compile: `(pool, images, cells, key) -> pool, drawn`.

    Half of the batch is drawn, and goes back with the other half, `images` and `cells`; no automaton runs in between.
    """

    def step(pool, images, cells, key):
        draw_key, shuffle_key = jr.split(key)
        drawn = draw(pool, batch_size // 2, key=draw_key)
        images = jnp.concatenate([images, drawn.images])
        cells = jnp.concatenate([cells, drawn.cells])
        return pools.put_back(pool, images, cells, key=shuffle_key), drawn

    sharded, replicated = parallel.SHARDED, parallel.REPLICATED
    in_specs = (sharded, sharded, sharded, replicated)
    out_specs = (sharded, pools.Drawn(sharded, sharded, replicated))  # pyright: ignore[reportArgumentType]
    mapped = jax.shard_map(step, mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    return jax.jit(mapped, donate_argnums=0)


def pool_step_arguments(sizes: Sizes, pool_size: int, mesh: Mesh) -> tuple[Any, ...]:
    """Shapes and shardings of what such a step takes; nothing is allocated."""

    def spread(shape, dtype, spec=parallel.SHARDED) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))

    def states(n) -> tuple[Any, Any]:
        grid = (n, sizes.image_size, sizes.image_size)
        return spread((*grid, sizes.image_channels), jnp.uint8), spread((*grid, sizes.cell_size), jnp.float32)

    pool = pools.Pool(*states(pool_size), spread((pool_size,), jnp.bool))
    return pool, *states(sizes.batch_size // 2), spread((), jr.key(0).dtype, parallel.REPLICATED)


def count_program(compiled: Any) -> Program:
    """What a compiled program moves and holds."""
    memory = compiled.memory_analysis()
    moved = collective_bytes(compiled.as_text())
    return Program(moved, memory.argument_size_in_bytes, memory.temp_size_in_bytes)


def count_traffic(sizes: Sizes, num_devices: int, pool_size: int) -> Traffic:
    """Our program and the gathering one on the first `num_devices`; the batch's halves and the pool must divide."""
    mesh = parallel.make_mesh(num_devices)
    arguments = pool_step_arguments(sizes, pool_size, mesh)
    ours, gathering = (
        count_program(make_pool_step(draw, mesh, sizes.batch_size).lower(*arguments).compile())
        for draw in (pools.draw, draw_from_gathered)
    )
    pool_bytes = pool_size // num_devices * (sizes.state_bytes + 1)  # one byte says that a slot is filled
    return Traffic(num_devices, pool_size, pool_bytes, ours, gathering)


def count_gradient(model: eqx.Module, num_devices: int) -> int:
    """Bytes that a device receives when the gradient of `model` (or of its shapes) is averaged over the devices."""
    mesh = parallel.make_mesh(num_devices)

    def mean(model):
        return jax.lax.pmean(jax.lax.pcast(model, parallel.AXIS, to="varying"), parallel.AXIS)

    everywhere = parallel.REPLICATED
    mapped = jax.shard_map(mean, mesh=mesh, in_specs=everywhere, out_specs=everywhere)
    return count_program(jax.jit(mapped).lower(model).compile()).moved_bytes


def count_all(sizes: Sizes, hidden_size: int) -> tuple[list[Traffic], dict[int, int]]:
    """The pool's traffic for every number of devices and size of the pool, and the gradient's by number of devices."""
    traffic = [count_traffic(sizes, devices, pool_size) for devices in NUM_DEVICES for pool_size in POOL_SIZES]
    model = eqx.filter_eval_shape(
        NonDoublingVNCA,
        image_size=sizes.image_size,
        image_channels=sizes.image_channels,
        latent_size=sizes.cell_size,
        hidden_size=hidden_size,
        key=jr.key(0),
    )
    return traffic, {devices: count_gradient(model, devices) for devices in NUM_DEVICES}

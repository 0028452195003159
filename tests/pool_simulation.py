"""The pool's law, simulated: ours inside `shard_map`, and a plain NumPy transcription of appendix A.3.

A state is four numbers in one cell: how often the automaton has run on it, the step in which it was put in, the device
that did so, and a name. `python tests/pool_simulation.py FOLDER` simulates on eight devices (tests/test_pool.py).
"""

import random
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from vnca_jax import parallel, pool

AGE, PUT_IN, DEVICE, NAME = range(4)


def by_the_paper(num_slots, batch_size, num_steps, seed):
    """The states that appendix A.3's pseudo-code draws in each step, `(steps, batch / 2, 4)`; NaN before it does."""
    generator = random.Random(seed)
    pooled = []
    num_drawn = batch_size // 2
    records = np.full((num_steps, num_drawn, 4), np.nan)
    for step in range(num_steps):
        batch = [[0, 0, 0, step * batch_size + i] for i in range(batch_size)]
        if len(pooled) > num_drawn:
            drawn = pooled[:num_drawn]
            records[step] = drawn
            batch[num_drawn:] = [list(state) for state in drawn]
        pooled += [[age + 1, step, 0, name] for age, _, _, name in batch]
        generator.shuffle(pooled)
        pooled = pooled[:num_slots]
    return records


def by_ours(num_slots, batch_size, num_steps, seed, num_devices, put_back=pool.put_back, draw=pool.draw):
    """The same with our pool, and for each step which of its slots are filled and which device each draw went to."""
    mesh = parallel.make_mesh(num_devices)
    local = batch_size // num_devices

    def simulate(start, key):
        device = jax.lax.axis_index(parallel.AXIS)

        def step(pooled, i):
            draw_key, put_key = jr.split(jr.fold_in(key, i))
            drawn = draw(pooled, batch_size // 2, key=draw_key)
            name = (i * batch_size + device * local + jnp.arange(local)).astype(jnp.float32)
            zeros = jnp.zeros(local)
            states = jnp.stack([zeros, zeros, zeros, name], axis=1)[:, None, None, :]
            states = states.at[1::2].set(jnp.where(drawn.ready, drawn.cells, states[1::2]))
            put_in = states.at[..., AGE].add(1).at[..., PUT_IN].set(i.astype(jnp.float32))
            put_in = put_in.at[..., DEVICE].set(device.astype(jnp.float32))
            images = (put_in[..., NAME:] % 251).astype(jnp.uint8)
            record = jnp.where(drawn.ready, drawn.cells[:, 0, 0], jnp.nan)
            same = (drawn.images == (drawn.cells[..., NAME:] % 251).astype(jnp.uint8)).all() | ~drawn.ready
            pooled = put_back(pooled, images, put_in, key=put_key)
            return pooled, (record, jnp.broadcast_to(same, len(record)), jnp.broadcast_to(device, len(record)))

        pooled, records = jax.lax.scan(step, start, jnp.arange(num_steps))
        return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), records), pooled

    run = jax.jit(
        jax.shard_map(
            simulate,
            mesh=mesh,
            in_specs=(parallel.SHARDED, parallel.REPLICATED),
            out_specs=parallel.SHARDED,
            check_vma=False,
        )
    )
    start = parallel.place(pool.empty(num_slots, (1, 1, 1), 4), mesh, parallel.SHARDED)
    (record, same, device), end = run(start, jr.key(seed))
    assert np.asarray(same).all()  # an image stays with its cells
    return {
        "drawn": np.asarray(record).transpose(1, 0, 2),
        "device": np.asarray(device).T,
        "cells": np.asarray(end.cells)[:, 0, 0],
        "filled": np.asarray(end.filled),
    }


def moves_only_blocks(pooled, images, cells, *, key):
    """What must not pass for a pool: new states into the first slots of a device, then whole devices permuted."""
    new = pool.Pool(
        pooled.images.at[: len(images)].set(images),
        pooled.cells.at[: len(cells)].set(cells),
        pooled.filled.at[: len(cells)].set(True),
    )
    order = jr.permutation(key, jax.lax.axis_size(parallel.AXIS))
    here = order[jax.lax.axis_index(parallel.AXIS)]
    return jax.tree.map(lambda a: jax.lax.all_gather(a, parallel.AXIS)[here], new)


def from_the_front(pooled, num_drawn, *, key):
    """Its draw: each device's first slots."""
    local = num_drawn // jax.lax.axis_size(parallel.AXIS)
    return pool.Drawn(pooled.images[:local], pooled.cells[:local], pooled.filled[local - 1])


SIZES = {"num_slots": 48, "batch_size": 16, "num_steps": 1500, "seed": 5}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for devices in (1, 2, 4, 8):
        np.savez(folder / f"{devices}.npz", allow_pickle=False, **by_ours(**SIZES, num_devices=devices))
    blocks = by_ours(**SIZES, num_devices=8, put_back=moves_only_blocks, draw=from_the_front)
    np.savez(folder / "blocks.npz", allow_pickle=False, **blocks)

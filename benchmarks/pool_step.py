"""One training step with pool and damage on CPU, ours beside ours without a pool and PyTorch's; what the pool moves.

The pool is full, and all contenders take the same number of steps of the automaton. Ours may need 1.05 of its time
without a pool, and 0.50 of PyTorch's where that computes each step again in the backward pass. PyTorch keeping
everything needs 7 GiB more at the paper's sizes, and is left out where that is over half of the machine's.

The second table is counted in programs compiled for one to eight CPU devices and not run: what a device receives in a
step for the pool, what it would if the whole pool were gathered to draw from, and what for the gradient; and what it
holds. Ours may receive no more for the largest pool than for the smallest.

    python -m benchmarks.pool_step --json pool_step.json
"""

import os
from dataclasses import asdict, dataclass
from typing import Literal

import tyro

from benchmarks import side_by_side
from benchmarks.cpu_devices import with_devices
from benchmarks.pool_traffic import NUM_DEVICES, POOL_SIZES, Sizes, Traffic, count_all
from vnca_jax import paths
from vnca_jax.errors import InputError, reported
from vnca_jax.text_table import aligned

OURS, NO_POOL = "vnca_jax", "vnca_jax without a pool"
RECOMPUTING, KEEPING = "torch recomputing steps", "torch keeping everything"
MIB = 2**20
SEED = 0


@dataclass(frozen=True)
class Options(side_by_side.CommonOptions):
    """Time a training step with pool and damage, and count what the pool moves; the defaults are the paper's sizes."""

    batch_size: int = 128
    """Images per step; a multiple of 16, for half of it is shared by eight devices."""
    num_steps: int = 48
    """Steps T of the automaton; the paper draws them from 32 to 64."""
    pool_size: int = 1024
    """States in the pool that is timed; a multiple of 8, and more than half of a batch."""
    latent_size: int = 128
    hidden_size: int = 128
    image_size: int = 28
    """Side of the images, and of the grid."""
    encoder_width: int = 32
    """Channels of the encoder's first convolution."""
    tables: Literal["time", "traffic", "both"] = "both"
    """Which of the two tables to make."""


def prepare_ours(options: Options, with_pool: bool) -> side_by_side.Prepared:
    """Our step as `train.fit` takes it, on all cores."""
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    from jax.sharding import NamedSharding

    from benchmarks.our_step import all_cores, prepare_step
    from vnca_jax import losses, parallel, pool
    from vnca_jax.models import NonDoublingVNCA

    mesh = all_cores()
    model_key, state_key, pool_key = jr.split(jr.key(SEED), 3)
    steps = dict.fromkeys(("num_steps", "min_steps", "max_steps"), options.num_steps)
    sizes = {name: getattr(options, name) for name in ("image_size", "latent_size", "hidden_size", "encoder_width")}
    model = NonDoublingVNCA(**sizes, **steps, key=model_key)
    if not with_pool:
        return prepare_step(losses.elbo_loss(), model, None, options.batch_size, mesh=mesh, key=state_key)
    grid = (options.pool_size, options.image_size, options.image_size)

    def fill(key):
        image_key, cell_key = jr.split(key)
        images = jr.bernoulli(image_key, shape=(*grid, 1)).astype(jnp.uint8)
        return pool.Pool(images, jr.normal(cell_key, (*grid, options.latent_size)), jnp.ones(options.pool_size, bool))

    full = jax.jit(fill, out_shardings=NamedSharding(mesh, parallel.SHARDED))
    return prepare_step(losses.pool_loss(), model, full(pool_key), options.batch_size, mesh=mesh, key=state_key)


def prepare_torch(options: Options, recompute: bool) -> side_by_side.Prepared:
    """The PyTorch step on one fixed batch, with a full pool."""
    import random

    import torch

    from benchmarks.torch_nondoubling import NonDoublingVNCA, PoolState, pool_step
    from benchmarks.torch_vnca import build_optimizer

    torch.manual_seed(SEED)
    random.seed(SEED)
    size, latent_size = options.image_size, options.latent_size
    first_padding = 2 + ((1 << (size - 1).bit_length()) - size) // 2
    model = NonDoublingVNCA(
        image_size=size,
        first_padding=first_padding,
        latent_size=latent_size,
        hidden_size=options.hidden_size,
        encoder_width=options.encoder_width,
    )
    optimizer = build_optimizer(model)
    x = (torch.rand(options.batch_size, 1, size, size) < 0.5).float()
    pool = [
        PoolState((torch.rand(1, size, size) < 0.5).float(), torch.randn(latent_size, size, size))
        for _ in range(options.pool_size)
    ]
    sizes = {"pool_size": options.pool_size, "num_steps": options.num_steps}
    return side_by_side.Prepared(lambda: pool_step(model, optimizer, pool, x, **sizes, recompute=recompute))


def kept_bytes(options: Options) -> int:
    """What PyTorch keeps for the gradient if it computes nothing again: cells, and the hidden layer around ELU."""
    cells = options.batch_size * options.num_steps * options.image_size**2
    return 4 * cells * (options.latent_size + 2 * options.hidden_size)


def take_times(options: Options) -> dict[str, side_by_side.Measurement]:
    """The times of all contenders that the machine has memory for."""
    contenders = [
        side_by_side.Contender(OURS, prepare_ours, options, True),
        side_by_side.Contender(NO_POOL, prepare_ours, options, False),
        side_by_side.Contender(RECOMPUTING, prepare_torch, options, True),
    ]
    if kept_bytes(options) < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2:
        contenders.append(side_by_side.Contender(KEEPING, prepare_torch, options, False))
    return side_by_side.take_turns(contenders, options.repeats)


def time_ratios(found: dict[str, side_by_side.Measurement]) -> list[side_by_side.Ratio]:
    """What the times come to."""
    targets = {NO_POOL: 1.05, RECOMPUTING: 0.50, KEEPING: None}
    return [
        side_by_side.Ratio(f"step time, {OURS} / {name}", found[OURS].median_s / found[name].median_s, target)
        for name, target in targets.items()
        if name in found
    ]


def traffic_ratios(found: list[Traffic]) -> list[side_by_side.Ratio]:
    """What moves with the most devices, for the largest pool and the smallest."""
    by_size = {traffic.pool_size: traffic for traffic in found if traffic.num_devices == max(NUM_DEVICES)}
    smallest, largest = by_size[min(POOL_SIZES)], by_size[max(POOL_SIZES)]
    what = f"bytes moved on {max(NUM_DEVICES)} devices, P = {max(POOL_SIZES)} / {min(POOL_SIZES)}"
    return [
        side_by_side.Ratio(f"{what}, {OURS}", largest.ours.moved_bytes / smallest.ours.moved_bytes, 1.0),
        side_by_side.Ratio(f"{what}, gathering", largest.gathering.moved_bytes / smallest.gathering.moved_bytes),
    ]


def format_traffic(found: list[Traffic], gradients: dict[int, int]) -> str:
    """A table of MiB per device: received in a step, and held."""
    header = ("devices, P", "moved", "gathering", "gradient", "pool", "held", "gathering")
    rows = []
    for traffic in found:
        ours, gathering = traffic.ours, traffic.gathering
        moved = (ours.moved_bytes, gathering.moved_bytes, gradients[traffic.num_devices])
        held = (traffic.pool_bytes, ours.held_bytes, gathering.held_bytes)
        rows.append((f"{traffic.num_devices}, {traffic.pool_size}", *[f"{n / MIB:.2f}" for n in (*moved, *held)]))
    return aligned(header, rows)


def require_shares(options: Options) -> None:
    """InputError for a batch or a pool that eight devices could not share, or a pool that a batch would empty."""
    if options.batch_size % 16:
        raise InputError(f"--batch-size is {options.batch_size} but must be a multiple of 16: give 128, for example.")
    if options.pool_size % 8 or options.pool_size <= options.batch_size // 2:
        raise InputError(
            f"--pool-size is {options.pool_size} but must be a multiple of 8 above half of --batch-size "
            f"({options.batch_size}): give {8 * options.batch_size}, for example."
        )


def main(options: Options) -> None:
    """Measures, counts and reports; raises InputError for options that cannot be measured."""
    side_by_side.require_folder(options.json)
    names = ("batch_size", "num_steps", "pool_size", "latent_size", "hidden_size", "image_size", "repeats")
    side_by_side.require_sizes(**{name: getattr(options, name) for name in names})
    require_shares(options)
    found, traffic, gradients, ratios = {}, [], {}, []
    if options.tables != "traffic":
        side_by_side.require_torch()
        found = take_times(options)
        ratios += time_ratios(found)
    if options.tables != "time":
        sizes = Sizes(options.batch_size, options.image_size, 1, options.latent_size)
        traffic, gradients = with_devices(max(NUM_DEVICES), count_all, sizes, options.hidden_size)
        ratios += traffic_ratios(traffic)
        print(
            "MiB a device: moved to it in a step by ours, by gathering the whole pool, and for the gradient; its part"
        )
        print("of the pool; and all that the program of the pool's part of a step holds, ours and gathering.")
        print(format_traffic(traffic, gradients))
    more = {"traffic": [asdict(one) for one in traffic], "gradient_bytes": gradients}
    side_by_side.report("training step with pool", options, found, ratios, options.json, **more)


if __name__ == "__main__":
    with reported():
        main(paths.expanded_in(tyro.cli(Options, prog="python -m benchmarks.pool_step")))

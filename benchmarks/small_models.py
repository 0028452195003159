"""Small models on CPU: training steps beside PyTorch's, and evaluation with blocks that fit the cache or do not.

A step may need 0.75 of PyTorch's time where that keeps everything for the gradient. The evaluation takes the IWELBO
with K = 128 of as many images as go into a block: once as `vnca_jax.eval` chooses it, once of 2^25 bytes of the largest
activation, as it was.

    python -m benchmarks.small_models --json small_models.json
"""

from dataclasses import dataclass
from typing import Any, Literal

import tyro

from benchmarks import pool_step, side_by_side, train_step
from vnca_jax import paths
from vnca_jax.errors import reported

OURS, TORCH = "vnca_jax", "torch keeping everything"
BEFORE, AFTER = "block of 2^25 bytes", "block that fits the cache"
TARGET = 0.75
BEFORE_BYTES = 1 << 25
SEED = 0

Table = Literal["steps", "evaluation", "both"]


@dataclass(frozen=True)
class Sizes:
    """What is timed, beside 32 numbers per cell, and 32 or 64 hidden channels."""

    batch_size: int = 16  # images per step
    num_steps: int = 20  # T of the non-doubling automaton
    image_size: int = 28  # of its grid
    pool_size: int = 512
    encoder_width: int = 16
    num_samples: int = 128  # K of the evaluation


@dataclass(frozen=True)
class Options(side_by_side.Timing):
    """Time small models' training steps beside PyTorch's, and their evaluation."""

    tables: Table = "both"
    """What to measure."""
    repeats: int = 5
    sizes: tyro.conf.Suppress[Sizes] = Sizes()


def step_contenders(options: Options) -> dict[str, tuple[Any, Any, Any]]:
    """Of each training step: how ours is prepared, how PyTorch's is, and with which sizes; 32 numbers per cell."""
    shared: Any = {
        "latent_size": 32,
        "batch_size": options.sizes.batch_size,
        "encoder_width": options.sizes.encoder_width,
    }
    pooled = {name: getattr(options.sizes, name) for name in ("num_steps", "image_size", "pool_size")}
    found: dict[str, tuple[Any, Any, Any]] = {
        f"pooled non-doubling step, {hidden_size} channels": (
            *(pool_step.prepare_ours, pool_step.prepare_torch),
            pool_step.Options(**shared, **pooled, hidden_size=hidden_size),
        )
        for hidden_size in (32, 64)
    }
    sizes = train_step.Options(**shared, hidden_size=32, steps_per_doubling=4)
    return found | {"doubling step, 32 channels, M = 4": (train_step.prepare_ours, train_step.prepare_torch, sizes)}


def measure_steps(options: Options) -> tuple[dict[str, side_by_side.Measurement], list[side_by_side.Ratio]]:
    """The times of all steps, ours and PyTorch's in turns."""
    found, ratios = {}, []
    for name, (ours, torchs, sizes) in step_contenders(options).items():
        contenders = [
            side_by_side.Contender(OURS, ours, sizes, *([True] if ours is pool_step.prepare_ours else [])),
            side_by_side.Contender(TORCH, torchs, sizes, False),
        ]
        times = side_by_side.take_turns(contenders, options.repeats)
        found |= {f"{name}: {who}": measured for who, measured in times.items()}
        ratio = times[OURS].median_s / times[TORCH].median_s
        ratios.append(side_by_side.Ratio(f"time of a {name}, {OURS} / {TORCH}", ratio, TARGET))
    return found, ratios


def prepare_bound(options: Options, kind: str, block: str) -> side_by_side.Prepared:
    """The bound of as many images per core as go into the block, or one image's samples in several."""
    import jax
    import jax.numpy as jnp
    import jax.random as jr

    from benchmarks.our_step import all_cores
    from vnca_jax import parallel, remat
    from vnca_jax.eval import make_bound
    from vnca_jax.models import DoublingVNCA, NonDoublingVNCA

    mesh = all_cores()
    model_key, image_key, noise_key = jr.split(jr.key(SEED), 3)
    sizes: Any = {"latent_size": 32, "encoder_width": options.sizes.encoder_width}
    if kind == "doubling":
        hidden_size, model = 32, DoublingVNCA(**sizes, hidden_size=32, steps_per_doubling=4, key=model_key)
    else:
        sizes |= {"image_size": options.sizes.image_size, "num_steps": options.sizes.num_steps}
        hidden_size, model = 64, NonDoublingVNCA(**sizes, hidden_size=64, key=model_key)
    at_once = remat.decodes_at_once(model)
    if block == BEFORE:
        at_once = max(1, BEFORE_BYTES // (4 * model.image_size**2 * hidden_size))
    chunk_size = max(n for n in range(1, at_once + 1) if options.sizes.num_samples % n == 0)
    num_images = mesh.size * max(1, at_once // chunk_size)
    x = jr.bernoulli(image_key, shape=(num_images, model.image_size, model.image_size, 1)).astype(jnp.uint8)
    bound = make_bound(model, noise_key, options.sizes.num_samples, chunk_size, mesh)
    model = parallel.place(model, mesh)
    images, index = parallel.place((x, jnp.arange(num_images)), mesh, parallel.SHARDED)
    compiled, compile_s = side_by_side.time_compilation(bound.lower(model, images, index))
    run = lambda: jax.block_until_ready(compiled(model, images, index))  # noqa: E731
    return side_by_side.Prepared(run, compile_s, images=num_images)


def measure_evaluation(options: Options) -> tuple[dict[str, side_by_side.Measurement], list[side_by_side.Ratio]]:
    """Images per second of both models, with both blocks in turns."""
    found, ratios = {}, []
    for kind in ("doubling", "non-doubling"):
        contenders = [side_by_side.Contender(block, prepare_bound, options, kind, block) for block in (BEFORE, AFTER)]
        times = side_by_side.take_turns(contenders, options.repeats)
        found |= {f"{kind} evaluation of an image: {block}": measured for block, measured in times.items()}
        ratio = times[BEFORE].median_s / times[AFTER].median_s
        ratios.append(side_by_side.Ratio(f"images a second, {kind}, {AFTER} / {BEFORE}", ratio))
    return found, ratios


def main(options: Options) -> None:
    """Measure and report; raises InputError for options that cannot be measured."""
    side_by_side.require_folder(options.json)
    side_by_side.require_sizes(repeats=options.repeats)
    found, ratios = {}, []
    if options.tables != "evaluation":
        side_by_side.require_torch()
        found, ratios = measure_steps(options)
    if options.tables != "steps":
        more, more_ratios = measure_evaluation(options)
        found, ratios = found | more, ratios + more_ratios
    side_by_side.report("small models", options, found, ratios, options.json)


if __name__ == "__main__":
    with reported():
        main(paths.expanded_in(tyro.cli(Options, prog="python -m benchmarks.small_models")))

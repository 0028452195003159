"""The importance-weighted bound of one image on CPU, ours beside PyTorch's, and our peak memory as K grows.

PyTorch takes one image at a time on all cores, ours one image a core; both decode a few of its K samples at once, and
nothing is kept for a gradient. Ours may need 0.40 of PyTorch's time an image (0.25 is aimed at), and no more memory for
4 K samples than for K / 8.

    python -m benchmarks.iwelbo --json iwelbo.json
"""

import math
from dataclasses import dataclass

import tyro

from benchmarks import side_by_side
from vnca_jax import paths
from vnca_jax.errors import InputError, reported

OURS, TORCH = "vnca_jax", "torch"
TORCH_SAMPLES_AT_ONCE = 8  # the fastest of 8, 16, 32 and 128
SEED = 0


@dataclass(frozen=True)
class Options(side_by_side.CommonOptions):
    """Time the bound of an image, ours beside PyTorch's; the defaults are the paper's sizes."""

    num_samples: int = 128
    """Importance samples K; a multiple of 8, for memory is measured at K / 8, K and 4 K."""


def prepare_ours(options: Options, num_samples: int) -> side_by_side.Prepared:
    """Our bound with `num_samples` samples as `vnca_jax.eval` computes it, of one image a core.

    As many samples are decoded at once as there, but at most K / 8: the same number for all three K.
    """
    import jax
    import jax.numpy as jnp
    import jax.random as jr

    from vnca_jax import parallel
    from vnca_jax.eval import make_bound
    from vnca_jax.models import DoublingVNCA
    from vnca_jax.remat import decodes_at_once

    jax.config.update("jax_platforms", "cpu")
    parallel.use_all_cores()
    mesh = parallel.make_mesh()
    model_key, image_key, noise_key = jr.split(jr.key(SEED), 3)
    model = DoublingVNCA(latent_size=options.latent_size, hidden_size=options.hidden_size, key=model_key)
    x = jr.bernoulli(image_key, shape=(mesh.size, 32, 32, 1)).astype(jnp.uint8)
    chunk_size = math.gcd(options.num_samples // 8, decodes_at_once(model))
    bound = make_bound(model, noise_key, num_samples, chunk_size, mesh)
    model = parallel.place(model, mesh)
    images, index = parallel.place((x, jnp.arange(mesh.size)), mesh, parallel.SHARDED)
    compiled, compile_s = side_by_side.time_compilation(bound.lower(model, images, index))
    return side_by_side.Prepared(
        lambda: jax.block_until_ready(compiled(model, images, index)), compile_s, images=mesh.size
    )


def prepare_torch(options: Options) -> side_by_side.Prepared:
    """PyTorch's bound of one image."""
    import torch

    from benchmarks.torch_vnca import DoublingVNCA

    torch.manual_seed(SEED)
    model = DoublingVNCA(latent_size=options.latent_size, hidden_size=options.hidden_size)
    x = (torch.rand(1, 1, 32, 32) < 0.5).float()

    def run() -> None:
        with torch.no_grad():
            model.iwelbo(x, torch.randn(options.num_samples, 1, options.latent_size), TORCH_SAMPLES_AT_ONCE)

    return side_by_side.Prepared(run)


def find_ratios(found: dict[str, side_by_side.Measurement], fewest: str, most: str) -> list[side_by_side.Ratio]:
    """What the figures come to; `fewest` and `most` name the measurements with the fewest and the most samples."""
    return [
        side_by_side.Ratio(f"time an image, {OURS} / {TORCH}", found[OURS].median_s / found[TORCH].median_s, 0.25),
        side_by_side.Ratio(f"peak memory, {most} / {fewest}", found[most].peak_gib / found[fewest].peak_gib, 1.1),
    ]


def main(options: Options) -> None:
    """Measure and report; raises InputError for options that cannot be measured."""
    side_by_side.require(
        options.json,
        num_samples=options.num_samples,
        latent_size=options.latent_size,
        hidden_size=options.hidden_size,
        repeats=options.repeats,
    )
    if options.num_samples % 8:
        raise InputError(f"--num-samples is {options.num_samples} but must be a multiple of 8: give 128, for example.")
    contenders = [
        side_by_side.Contender(OURS, prepare_ours, options, options.num_samples),
        side_by_side.Contender(TORCH, prepare_torch, options),
    ]
    found = side_by_side.take_turns(contenders, options.repeats)
    more = {f"{OURS}, K = {k}": k for k in (options.num_samples // 8, 4 * options.num_samples)}
    found |= {name: side_by_side.Contender(name, prepare_ours, options, k).finish() for name, k in more.items()}
    side_by_side.report("bound of an image", options, found, find_ratios(found, *more), options.json)


if __name__ == "__main__":
    with reported():
        main(paths.expanded_in(tyro.cli(Options, prog="python -m benchmarks.iwelbo")))

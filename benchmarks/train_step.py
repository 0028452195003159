"""One training step of the doubling VNCA on CPU (encoder, decoder, clip, Adam), ours beside PyTorch's.

PyTorch runs in two forms: each step of the automaton computed again in the backward pass, as the paper's authors train,
and everything kept. Ours may need 0.40 of the first's time (0.30 is aimed at), 2.5 GiB, and 10 s to compile.

    python -m benchmarks.train_step --json train_step.json
"""

from dataclasses import dataclass

import tyro

from benchmarks import side_by_side
from vnca_jax import paths
from vnca_jax.errors import reported

OURS, RECOMPUTING, KEEPING = "vnca_jax", "torch recomputing steps", "torch keeping everything"
PEAK_GIB_LIMIT = 2.5
COMPILE_S_LIMIT = 10.0
SEED = 0


@dataclass(frozen=True)
class Options(side_by_side.CommonOptions):
    """Time one training step of the doubling VNCA, ours beside PyTorch's; the defaults are the paper's sizes."""

    batch_size: int = 32
    """Images per step."""
    steps_per_doubling: int = 8
    """NCA steps before the first and after each doubling, M."""
    encoder_width: int = 32
    """Channels of the encoder's first convolution."""
    repeats: int = 5

    @property
    def of_model(self) -> dict[str, int]:
        """The sizes of either model."""
        names = ("latent_size", "hidden_size", "steps_per_doubling", "encoder_width")
        return {name: getattr(self, name) for name in names}


def prepare_ours(options: Options) -> side_by_side.Prepared:
    """Our step as `train.fit` takes it, on all cores."""
    import jax.random as jr

    from benchmarks.our_step import all_cores, prepare_step
    from vnca_jax.losses import elbo_loss
    from vnca_jax.models import DoublingVNCA

    mesh = all_cores()
    model_key, state_key = jr.split(jr.key(SEED))
    model = DoublingVNCA(**options.of_model, key=model_key)  # pyright: ignore[reportArgumentType]
    return prepare_step(elbo_loss(), model, None, options.batch_size, mesh=mesh, key=state_key)


def prepare_torch(options: Options, recompute: bool) -> side_by_side.Prepared:
    """The PyTorch step on one fixed batch."""
    import torch

    from benchmarks.torch_vnca import DoublingVNCA, build_optimizer, train_step

    torch.manual_seed(SEED)
    model = DoublingVNCA(**options.of_model)
    optimizer = build_optimizer(model)
    x = (torch.rand(options.batch_size, 1, 32, 32) < 0.5).float()
    return side_by_side.Prepared(lambda: train_step(model, optimizer, x, recompute))


def find_ratios(found: dict[str, side_by_side.Measurement]) -> list[side_by_side.Ratio]:
    """What the figures come to."""
    ours = found[OURS]
    return [
        side_by_side.Ratio(f"step time, {OURS} / {RECOMPUTING}", ours.median_s / found[RECOMPUTING].median_s, 0.30),
        side_by_side.Ratio(f"step time, {OURS} / {KEEPING}", ours.median_s / found[KEEPING].median_s),
        side_by_side.Ratio(f"peak memory, {OURS} / {PEAK_GIB_LIMIT} GiB", ours.peak_gib / PEAK_GIB_LIMIT, 1.0),
        side_by_side.Ratio(f"compile time, {OURS} / {COMPILE_S_LIMIT:.0f} s", ours.compile_s / COMPILE_S_LIMIT, 1.0),
    ]


def main(options: Options) -> None:
    """Measure and report; raises InputError for options that cannot be measured."""
    side_by_side.require(
        options.json,
        batch_size=options.batch_size,
        **options.of_model,
        repeats=options.repeats,
    )
    contenders = [
        side_by_side.Contender(OURS, prepare_ours, options),
        side_by_side.Contender(RECOMPUTING, prepare_torch, options, True),
        side_by_side.Contender(KEEPING, prepare_torch, options, False),
    ]
    found = side_by_side.take_turns(contenders, options.repeats)
    side_by_side.report("training step", options, found, find_ratios(found), options.json)


if __name__ == "__main__":
    with reported():
        main(paths.expanded_in(tyro.cli(Options, prog="python -m benchmarks.train_step")))

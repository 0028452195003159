"""Does every cell come to know which digit it belongs to? A linear probe on single cells, split by image.

    python -m experiments.linear_probe --preset paper --ckpt RUN      2,000 test images, three splits
    python -m experiments.linear_probe --preset cpu                   the embedded digits; trains the model if need be

Beyond the paper, which asks it of its damaged cells (section 3.3). Ours: docs/results.md. Minutes on two cores.
"""

import dataclasses

import numpy as np

from experiments import analysis, cell_probe, cli
from experiments.analysis import plus_minus, print_table
from vnca_jax import figures

PICTURED = 10
PARTS = ("all", "on the digit", "around it")


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """What is measured."""

    num_images: int = 2000
    """Test images."""
    num_splits: int = 3
    """Splits of the images; in each a quarter of them is held out."""
    cells_per_image: int = 8
    """Cells of each image that a probe is fitted to; it is tested on all cells of the held-out images."""

    def __post_init__(self):
        cli.check_at_least(self, {"num_images": 100, "num_splits": 1, "cells_per_image": 1})


PRESETS: dict[cli.Preset, analysis.Config] = {
    "paper": analysis.Config(analysis.Automaton(), ProbeConfig()),
    "cpu": analysis.Config(analysis.Automaton(), ProbeConfig(num_images=360)),
}


def main(config: analysis.Config) -> None:
    """Fits a probe a step, reads every cell of the held-out images, prints and draws."""
    with analysis.start("linear_probe", config) as run:
        model, options = run.automata[0].model, config.analysis
        x = run.automata[0].images(run.dataset.some_test_images(options.num_images))
        labels = run.dataset.some_test_labels(options.num_images).astype(np.int32)
        splits = {"num_splits": options.num_splits, "cells_per_image": options.cells_per_image}
        readings, held_out = cell_probe.probe(model, x, labels, **splits, seed=config.run.seed)
        shares = cell_probe.accuracies(readings, held_out, x[held_out].max(axis=-1) > 0)
        times = shown_times([step.digit.shape[-1] for step in readings[:-1]])
        names = times | {-1: "3x3 pixels of the grown image"}
        rows = [
            [name, *(plus_minus(shares[i][p]) if p in shares[i] else "-" for p in PARTS)] for i, name in names.items()
        ]
        title = (
            f"Share of cells that name their digit, mean +- standard error over {len(set(held_out))} held-out images:"
        )
        print_table(title, ("cells", *PARTS), rows)
        print(f"Always the most frequent digit: {np.bincount(labels).max() / len(labels):.3f}")
        run.save(options=dataclasses.asdict(options), shown={n: shares[i] for i, n in names.items()}, by_step=shares)
        draw(run, readings, x[held_out], shares, times)


def shown_times(sides: list[int]) -> dict[int, str]:
    """The states that the table shows: the seed and the last of each grid, or six of one that does not grow."""
    last = [i for i, side in enumerate(sides) if i + 1 == len(sides) or sides[i + 1] != side]
    shown = [0, *last] if len(last) > 1 else sorted({*np.linspace(0, last[0], 6).astype(int).tolist()})
    doublings = [int(np.log2(side // sides[0])) for side in sides]  # a doubling is a state but no step
    return {i: f"t = {i - doublings[i]}, {sides[i]}x{sides[i]}" for i in shown}


def draw(run, readings, x, shares, times) -> None:
    """The accuracy of each cell as maps, the predicted digits of some held-out images, and the accuracy by step."""
    maps = {name: readings[i].is_right.mean(axis=0).astype(float) for i, name in times.items()}
    figures.maps(run.figure("accuracy_map.png"), maps, label="share of right cells")
    some, size = np.linspace(0, len(x) - 1, PICTURED).astype(int), x.shape[1]
    digits, strengths = (
        np.stack([figures.enlarge(part[some], size // part.shape[1]) for part in parts])
        for parts in zip(*(readings[i][:2] for i in times), strict=True)
    )
    figures.labelled_cells(run.figure("predicted_digits.png"), x[some], digits, strengths)
    curves = {}
    for part in PARTS:
        steps = [(i, step[part][0]) for i, step in enumerate(shares[:-1]) if part in step]
        curves[part] = tuple(np.array(steps).T)
    figures.curves(
        run.figure("accuracy_by_step.png"), curves, xlabel="state (steps and doublings)", ylabel="share of right cells"
    )


if __name__ == "__main__":
    cli.main("experiments.linear_probe", __doc__, PRESETS, main)

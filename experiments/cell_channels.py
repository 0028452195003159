"""What the channels of grown cells hold: their layers as sheets, their principal components as colours, and numbers.

    python -m experiments.cell_channels --preset paper --ckpt RUN      500 test images
    python -m experiments.cell_channels --preset cpu                   the embedded digits; trains the model if need be

In the manner of the reproduction study's view of the cell states, which has no numbers.
Ours: docs/results.md. A minute on two cores.
"""

import dataclasses

import jax
import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from experiments import analysis, cli
from experiments.analysis import in_batches, print_table
from vnca_jax import figures

LAYERS = 12


@dataclasses.dataclass(frozen=True)
class ChannelsConfig:
    """What is measured."""

    num_images: int = 500
    """Test images whose growth is measured."""

    def __post_init__(self):
        cli.check_at_least(self, {"num_images": 20})


PRESETS: dict[cli.Preset, analysis.Config] = {
    "paper": analysis.Config(analysis.Automaton(), ChannelsConfig()),
    "cpu": analysis.Config(analysis.Automaton(), ChannelsConfig(num_images=300)),
}


def main(config: analysis.Config) -> None:
    """Grows test images from the means of q(z|x), measures the cells and draws them."""
    with analysis.start("cell_channels", config) as run:
        model = run.automata[0].model
        images = run.automata[0].images(run.dataset.some_test_images(config.analysis.num_images))
        ends = jax.jit(lambda x: [stage[np.array([0, -1])].swapaxes(0, 1) for stage in model.grow(model.encode(x)[0])])
        stages = in_batches(ends, images)  # (images, first and last step, h, w, channels) each
        states = {"seed": stages[0][:, 0]}
        states |= {f"end of {cells.shape[2]}x{cells.shape[2]} cells": cells[:, 1] for cells in stages}
        found = {name: variance_parts(cells) for name, cells in states.items()}
        print_table(
            f"Variance of the cells over {len(images)} test images, and how many directions hold 90 % of it:",
            ("cells", "between images", "between places", "both together", "directions"),
            [(name, *(f"{100 * x:.1f} %" for x in shares), str(count)) for name, (*shares, count) in found.items()],
        )
        run.save(options=dataclasses.asdict(config.analysis), variance=found)
        labels = run.dataset.some_test_labels(config.analysis.num_images)
        draw(run, list(states.values())[1:], images, np.unique(labels, return_index=True)[1])


def variance_parts(cells: Float[np.ndarray, "n h w c"]) -> tuple[float, float, float, int]:
    """Shares of the variance, summed over channels: of the images' means, of the places' means, what remains.

    And the smallest number of principal components that hold 90 % of it.
    """
    cells = cells.astype(np.float64)
    centred = cells - cells.mean(axis=(0, 1, 2))
    total = np.square(centred).mean(axis=(0, 1, 2)).sum()
    images, places = (
        np.square(centred.mean(axis=axes)).reshape(-1, cells.shape[-1]).mean(axis=0).sum() for axes in ((1, 2), 0)
    )
    values = np.linalg.eigvalsh(np.cov(centred.reshape(-1, cells.shape[-1]).T))[::-1]
    count = int(np.searchsorted(values.cumsum() / values.sum(), 0.9) + 1)
    both = max(0.0, total - images - places)
    return float(images / total), float(places / total), float(both / total), count


def draw(run, states, images, chosen) -> None:
    """Layers of one digit, the most varied layers of ten, and three principal components of all stages as colours."""
    grown = states[-1]
    scale = np.quantile(np.abs(grown), 0.99, axis=(0, 1, 2))
    layers = np.moveaxis(figures.diverging(np.clip(grown[chosen] / scale, -1, 1)), -2, 1)
    figures.samples(run.figure("channels_of_one.png"), layers[3])
    varied = np.argsort(grown.var(axis=(0, 1, 2)))[::-1][:LAYERS]
    pictures = images[chosen].repeat(3 // images.shape[-1], axis=-1)
    sheet = np.concatenate([pictures[:, None], layers[:, varied]], axis=1)
    figures.rows(run.figure("channels_by_digit.png"), list(sheet))
    components = PCA(3, random_state=0).fit(grown.reshape(-1, grown.shape[-1]))
    spread = 3 * np.sqrt(components.explained_variance_)
    rows = [pictures]
    for cells in states:
        flat = components.transform(cells[chosen].reshape(-1, cells.shape[-1])) / spread
        colours = np.clip(flat / 2 + 0.5, 0, 1).reshape(*cells[chosen].shape[:-1], 3).astype(np.float32)
        rows.append(figures.enlarge(colours, images.shape[1] // cells.shape[1]))
    figures.rows(run.figure("components.png"), rows)


if __name__ == "__main__":
    cli.main("experiments.cell_channels", __doc__, PRESETS, main)

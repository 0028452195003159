"""The latent space of the VNCA beside the baseline's: Fig. 5 of the paper, and numbers for what it shows.

    python -m experiments.latent_space --preset paper --ckpt RUN --baseline-ckpt RUN     5,000 test images, five draws
    python -m experiments.latent_space --preset cpu      the embedded digits; trains both models where they are missing

The paper: the VNCA's t-SNE separates the digits cleanly, the baseline's less so; no number. The reproduction could not
show it. Ours: docs/results.md. Ten minutes on two cores, most of them t-SNE's; less than one on the digits.
"""

import dataclasses

import jax
import numpy as np
from tqdm import tqdm

from experiments import analysis, cli, interpolation
from experiments.analysis import in_batches, plus_minus, print_table
from experiments.latent_metrics import compare, measures, planes
from vnca_jax import figures
from vnca_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class LatentConfig:
    """What is measured and drawn."""

    num_images: int = 5000
    """Test images in each draw."""
    num_draws: int = 5
    """Draws of images, each with its own start of t-SNE and folds of the linear probe."""
    perplexity: float = 30.0
    """Perplexity of t-SNE."""
    num_interpolations: int = 4
    """Pairs of test images to go between."""
    interpolation_steps: int = 10
    """Images on each way, its ends included."""

    def __post_init__(self):
        smallest = {"num_images": 100, "num_draws": 2, "num_interpolations": 1, "interpolation_steps": 2}
        cli.check_at_least(self, smallest)
        if not 1 < self.perplexity < self.num_images / 3:
            raise InputError(
                f"--perplexity is {self.perplexity}, but must be above 1 and below a third of --num-images."
            )


PRESETS: dict[cli.Preset, analysis.Config] = {
    "paper": analysis.Config(analysis.AutomatonAndBaseline(), LatentConfig()),
    "cpu": analysis.Config(analysis.AutomatonAndBaseline(), LatentConfig(num_images=300)),
}


def main(config: analysis.Config) -> None:
    """Encodes, measures and draws."""
    with analysis.start("latent_space", config) as run:
        options, rng = config.analysis, np.random.default_rng(config.run.seed)
        images, test_labels = run.dataset.test, run.dataset.some_test_labels(None)
        ends = rng.choice(len(images), (options.num_interpolations, 2), replace=False)
        models = {"VNCA": run.automata, "baseline": run.baselines}
        encodings = {kind: [encode(one.model, one.images(images)) for one in some] for kind, some in models.items()}
        for i, (one, latents) in enumerate(zip(run.automata, encodings["VNCA"], strict=True)):
            path, (start, end) = run.figure(f"interpolation{i or ''}.png"), latents[ends].swapaxes(0, 1)
            interpolation.draw(path, one.model, start, end, options.interpolation_steps)
        count, found = min(options.num_images, len(images)), []
        for draw in tqdm(range(options.num_draws), desc="measuring", unit="draw", dynamic_ncols=True):
            drawn, seed = rng.choice(len(images), count, replace=False), config.run.seed + draw
            labels = test_labels[drawn].astype(int)
            flat = {
                kind: [planes(latents[drawn], perplexity=options.perplexity, seed=seed) for latents in some]
                for kind, some in encodings.items()
            }
            found.append(
                {
                    kind: [
                        measures(z[drawn], in_planes, labels, seed=seed)
                        for z, in_planes in zip(some, flat[kind], strict=True)
                    ]
                    for kind, some in encodings.items()
                }
            )
            for plane in flat["VNCA"][0] if draw == 0 else ():
                shown = {f"{kind}, {plane}": in_planes[0][plane].astype(float) for kind, in_planes in flat.items()}
                figures.scatter(run.figure(f"{plane.split()[0].lower()}.png"), shown, labels)
        rows = compare(found)
        over = f"{options.num_draws} draws of {count:,} of the {len(images):,} test images"
        print_table(
            f"Mean and 95 % interval over {over}:",
            ("measure", "VNCA", "baseline", "VNCA - baseline"),
            [(name, *(plus_minus(value) for value in row.values())) for name, row in rows.items()],
        )
        run.save(options=dataclasses.asdict(options), num_images=count, measures=rows, draws=found)


def encode(model, images):
    """The means of q(z|x)."""
    return in_batches(jax.jit(lambda x: model.encode(x)[0]), images)


if __name__ == "__main__":
    cli.main("experiments.latent_space", __doc__, PRESETS, main)

"""The right half of all cell states set to zero at each stage of the growth: Fig. 11 of the paper, with numbers.

    python -m experiments.damage_during_growth --preset paper --ckpt RUN --baseline-ckpt RUN     1,000 samples
    python -m experiments.damage_during_growth --preset cpu     the embedded digits; trains the models where missing

The paper has pictures of CelebA and no number; it finds that both decoders recover about equally well.
Ours: docs/results.md. A minute on two cores.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from experiments import analysis, cli
from experiments.analysis import in_batches, plus_minus, print_table
from vnca_jax import automaton, figures
from vnca_jax.eval import mean_and_error
from vnca_jax.models import ConvVAE, DoublingVNCA

PICTURED = 8
MEASURES = ("all", "damaged half", "other half")


@dataclasses.dataclass(frozen=True)
class DamageConfig:
    """What is measured."""

    num_samples: int = 1000
    """Samples z ~ p(z) that are grown, with the damage and without."""

    def __post_init__(self):
        cli.check_at_least(self, {"num_samples": PICTURED})


PRESETS: dict[cli.Preset, analysis.Config] = {
    "paper": analysis.Config(analysis.AutomatonAndBaseline(), DamageConfig()),
    "cpu": analysis.Config(analysis.AutomatonAndBaseline(), DamageConfig()),
}


def main(config: analysis.Config) -> None:
    """Grows, damages, measures and draws."""
    with analysis.start("damage_during_growth", config, automaton=DoublingVNCA) as run:
        rows, errors = [], {}
        named = [(f"vnca{i or ''}", one) for i, one in enumerate(run.automata)]
        named += [(f"baseline{i or ''}", one) for i, one in enumerate(run.baselines)]
        for name, one in named:
            model = one.model
            z = jr.normal(jr.key(config.run.seed), (config.analysis.num_samples, model.latent_size))
            means = in_batches(jax.jit(lambda z, model=model: damaged_growths(model, z)), np.asarray(z))
            figures.rows(run.figure(f"{name}.png"), list(means[:PICTURED]))
            for i, when in enumerate(moments(model)):
                found = {part: mean_and_error(x) for part, x in difference(means[:, 0], means[:, i + 1]).items()}
                errors.setdefault(name, {})[when] = found
                rows.append((one.header["model"], when, *(plus_minus(found[part], 2) for part in MEASURES)))
        title = f"Change of E[x] in %, mean +- standard error over {config.analysis.num_samples} samples z ~ p(z):"
        print_table(title, ("model", "right half set to zero", *MEASURES), rows)
        run.save(options=dataclasses.asdict(config.analysis), percent_of_full_scale=errors)


def damaged_growths(model: DoublingVNCA | ConvVAE, z: Float[Array, "n latent"]) -> Float[Array, "n times h w c"]:
    """E[x|z] of the undamaged growth, then with the right half of the cells set to zero before each stage in turn."""
    means = []
    for damaged_stage in (None, *range(model.num_stages)):
        cells = model.seed(z)
        for k in range(model.num_stages):
            if k == damaged_stage:
                cells = automaton.damage(
                    cells, jnp.broadcast_to(automaton.right_half(*cells.shape[1:3]), cells.shape[:3])
                )
            cells = model.stage(k, cells)
        means.append(model.likelihood.mean(model.outputs(cells)))
    return jnp.stack(means, axis=1)


def moments(model: DoublingVNCA | ConvVAE) -> list[str]:
    """When each of these damages happens, in words."""
    side = model.seed(jnp.zeros(model.latent_size)).shape[0]
    doubles_first = isinstance(model, ConvVAE)
    when = {k: f"before doubling {k + doubles_first}" for k in range(model.num_stages)}
    if not doubles_first:
        when[0] = "before the first step"
    grids = [side << max(k - (not doubles_first), 0) for k in when]
    return [f"{words}, {side}x{side}" for words, side in zip(when.values(), grids, strict=True)]


def difference(intact: Float[np.ndarray, "n h w c"], damaged: Float[np.ndarray, "n h w c"]) -> dict[str, Any]:
    """|E[x] - E[x] damaged| in % of full scale, mean over all pixels of an image, the damaged half, and the other."""
    error, middle = 100 * np.abs(intact - damaged), intact.shape[2] // 2
    parts = {"all": error, "damaged half": error[:, :, middle:], "other half": error[:, :, :middle]}
    return {name: part.mean(axis=(1, 2, 3)) for name, part in parts.items()}


if __name__ == "__main__":
    cli.main("experiments.damage_during_growth", __doc__, PRESETS, main)

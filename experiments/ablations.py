"""The variations of the doubling VNCA that the paper tried and found hardly better: appendix A.8, as one table.

    python -m experiments.ablations --preset cpu                            all, three seeds, on the embedded digits
    python -m experiments.ablations --preset paper --variations gru gated   some of them, on static binarized MNIST

The paper has no numbers: bigger batches trained much better, one network a scale only slightly, nothing else helped.
Ours: docs/results.md. Half an hour on two cores; a run that was interrupted goes on, and a finished one is read.
"""

import json
from typing import Any

import jax
import numpy as np

from experiments import cli
from experiments.analysis import plus_minus, print_table
from experiments.losses import ElboConfig
from experiments.run import start
from experiments.variations import AblationConfig, varied
from vnca_jax import processes
from vnca_jax.checkpoint import import_model
from vnca_jax.eval import mean_and_error
from vnca_jax.losses import elbo_loss
from vnca_jax.models import DoublingSizes, DoublingVNCA
from vnca_jax.train import TrainConfig
from vnca_jax.writing import write_json

PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(
        DoublingSizes(), cli.DataConfig("binarized_mnist"), loss=ElboConfig(), analysis=AblationConfig()
    ),
    "cpu": cli.Config(
        DoublingSizes(16, 16, num_doublings=2, steps_per_doubling=4, num_blocks=2, encoder_width=8, encoder_depth=2),
        cli.DataConfig("digits"),
        TrainConfig(num_updates=200, learning_rate=2e-3, cooldown_updates=100, report_every=200),
        cli.RunConfig(num_samples=32),
        ElboConfig(),
        analysis=AblationConfig(),
    ),
}


def main(config: cli.Config) -> None:
    """Runs what has not been run, then prints the table and writes it beside the runs."""
    options, rows = config.analysis, {}
    for variation in options.variations:
        found = [result_of(varied(config, variation, seed)) for seed in options.seeds]
        rows[variation] = {
            "parameters": found[0]["parameters"],
            "dataset": found[0]["dataset"],
            "image_shape": found[0]["evaluation"]["image_shape"],
            "iwelbo": [one["evaluation"]["terms"]["iwelbo"]["nats"] for one in found],
        }
    folder = config.run.out / "ablations" / (config.run.name or config.run.preset)
    if processes.is_first():
        write_json(folder / "table.json", {"seeds": options.seeds, "config": cli.as_flags(config), "rows": rows})
    for dataset in {row["dataset"]: None for row in rows.values()}:
        print_rows({name: row for name, row in rows.items() if row["dataset"] == dataset}, dataset, options.seeds)
    print(f"\nWritten: {folder / 'table.json'}")


def result_of(config: cli.Config) -> dict[str, Any]:
    """The results of one run, which is read if it is there, trained if not."""
    folder = config.run.out / "ablations" / config.run.name
    path = folder / "results.json"
    if not path.exists() or json.loads(path.read_text())["config"] != cli.as_flags(config):
        print(f"\n{config.run.name}")
        with start("ablations", config) as run:
            loss = elbo_loss(beta=config.loss.beta, beta_updates=config.loss.beta_updates)
            run.export_and_evaluate(run.fit(DoublingVNCA(config.model, compute=run.compute, key=run.keys.init), loss))
    model, _ = import_model(folder)
    return json.loads(path.read_text()) | {"parameters": sum(np.size(leaf) for leaf in jax.tree.leaves(model))}


def print_rows(rows: dict[str, Any], dataset: str, seeds: tuple[int, ...]) -> None:
    """The table of one dataset; the first row is what the others are held against."""
    bounds = {name: np.array([mean for mean, _ in row["iwelbo"]]) for name, row in rows.items()}
    first = next(iter(rows))
    shown = []
    for name, row in rows.items():
        several = len(seeds) > 1
        bound = mean_and_error(bounds[name]) if several else tuple(row["iwelbo"][0])
        difference = mean_and_error(bounds[name] - bounds[first]) if several and name != first else None
        shown.append(
            (name, f"{row['parameters']:,}", plus_minus(bound, 2), plus_minus(difference, 2) if difference else "-")
        )
    over = f"{len(seeds)} seeds" if len(seeds) > 1 else "the test images of one seed"
    title = f"IWELBO of {dataset} in nats, mean +- standard error over {over}; differences by seed:"
    print_table(title, ("variation", "parameters", "IWELBO", f"minus {first}"), shown)


if __name__ == "__main__":
    cli.main("experiments.ablations", __doc__, PRESETS, main)

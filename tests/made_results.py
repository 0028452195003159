"""A results.json as a run would write it, without the run."""

import json
from pathlib import Path
from typing import Any

from experiments import cli, mnist_baseline, mnist_doubling, mnist_nondoubling

MODULES = {module.__name__.split(".")[1]: module for module in (mnist_doubling, mnist_nondoubling, mnist_baseline)}
PIXELS = {"mnist_doubling": 32, "mnist_nondoubling": 28, "mnist_baseline": 28, "celeba_doubling": 64}
TEST_IMAGES = {"binarized_mnist": 10_000, "digits": 360, "celeba": 19_962}


def made(
    folder: Path,
    experiment: str = "mnist_doubling",
    *,
    bound: tuple[float, float] = (-90.0, 0.5),
    bpd: tuple[float, float] = (0.1, 0.01),
    preset: cli.Preset = "paper",
    **changes: Any,
) -> Path:
    """Writes a results.json as a run of `experiment` writes it, with `changes` of its flags; returns the folder."""
    facts = {name.replace("_", "-"): value for name, value in changes.items()}
    module = MODULES.get(experiment, mnist_nondoubling)
    config = cli.as_flags(module.PRESETS[preset]) | {"preset": preset} | facts
    terms = {"iwelbo": {"nats": bound, "bits_per_dimension": bpd}}
    size = 8 if config["dataset"] == "digits" else PIXELS[experiment]
    evaluation = {
        "terms": terms,
        "num_samples": config["num-samples"],
        "num_images": config["limit"] or TEST_IMAGES[config["dataset"]],
        "image_shape": [size, size, 1],
        "seed": config["seed"],
        "num_devices": 8,
        "device": "TPU v3",
        "seconds": 95.0,
    }
    results = {
        "experiment": experiment,
        "dataset": config["dataset"],
        "updates": config["num-updates"],
        "training_seconds": 5538.2,
        "command": f"python -m experiments.{experiment} --name {folder.name}",
        "evaluation": evaluation,
        "config": config,
    }
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    return folder

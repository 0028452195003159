"""Writes behaviour.json: the numbers that a change of the code's structure must not move.

    JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=8 python tests/reference/make_behaviour.py

The losses of the first 20 updates of three small models on the digits, on 1 and on 8 devices, and the terms of the
bounds of the models that come with the project on 16 images: digits of scikit-learn, enlarged, in colour for colours.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

NUM_UPDATES = 20
NUM_SAMPLES = 8
FILE = Path(__file__).with_name("behaviour.json")
PRETRAINED = ("mnist_doubling_small", "mnist_nondoubling_small", "mnist_baseline_small", "emoji_doubling_small")


def enlarged_digits(image_size, channels):
    """16 test digits, each of the 8x8 pixels 3 wide and high, 0 or 1, with a border; or in colour 4, without one."""
    from vnca_jax import data

    name, times = ("digits", 3) if channels == 1 else ("coloured_digits", 4)
    images = data.load(name).some_test_images(16)
    border = (image_size - 8 * times) // 2
    images = images.repeat(times, axis=1).repeat(times, axis=2)
    return np.pad(images, ((0, 0), (border, border), (border, border), (0, 0)))


def losses(name, num_devices):
    """The losses of the first updates of the model called `name`, from seed 0."""
    from vnca_jax import (
        ConvVAE,
        DoublingVNCA,
        NonDoublingVNCA,
        TrainConfig,
        data,
        elbo_loss,
        fit,
        make_mesh,
        metrics,
        pool_loss,
    )
    from vnca_jax.train import split_seed

    keys = split_seed(0)
    encoder: Any = {"latent_size": 8, "encoder_width": 4, "encoder_depth": 2}
    if name == "doubling":
        sizes: Any = {"hidden_size": 8, "num_doublings": 2, "steps_per_doubling": 2, "num_blocks": 1}
        model, loss = DoublingVNCA(**encoder, **sizes, key=keys.init), elbo_loss()
    elif name == "nondoubling":
        sizes = {"image_size": 8, "hidden_size": 8, "num_steps": 3, "min_steps": 2, "max_steps": 4}
        model, loss = NonDoublingVNCA(**encoder, **sizes, key=keys.init), pool_loss(size=64, beta=0.5)
    else:
        model, loss = ConvVAE(image_size=8, **encoder, key=keys.init), elbo_loss()
    config = TrainConfig(num_updates=NUM_UPDATES, batch_size=16, learning_rate=2e-3, cooldown_updates=8)
    with tempfile.TemporaryDirectory() as folder:
        images, mesh = data.load("digits").train, make_mesh(num_devices)
        fit(model, loss, images, config=config, mesh=mesh, directory=folder)
        return metrics.read(Path(folder) / "metrics.jsonl")["loss"].tolist()


def bounds(name):
    """The means over the enlarged digits of the terms of a pretrained model's bounds, in nats."""
    from vnca_jax import make_mesh, pretrained
    from vnca_jax.eval import evaluate

    model = pretrained(name)
    images = enlarged_digits(model.image_size, model.image_channels)
    found = evaluate(model, images, num_samples=NUM_SAMPLES, seed=0, mesh=make_mesh(1))
    return {term: mean for term, (mean, _) in found.terms.items()}


def all_losses():
    """Of each model, by the number of devices."""
    names = ("doubling", "nondoubling", "baseline")
    return {name: {str(count): losses(name, count) for count in (1, 8)} for name in names}


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    found = {"losses": all_losses(), "bounds": {name: bounds(name) for name in PRETRAINED}}
    FILE.write_text(json.dumps(found, indent=1) + "\n")

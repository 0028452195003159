"""Compiles a small program of each model for a TPU that is not at hand, and prints what is in it as JSON."""

import dataclasses
import json
import re
import sys
from typing import Any

import jax

from benchmarks import tpu, tpu_programs
from experiments.cli import Config, DataConfig
from experiments.losses import ElboConfig, PoolConfig
from vnca_jax import bounds, remat
from vnca_jax.models import ConvSizes, DoublingSizes, NonDoublingSizes
from vnca_jax.train import TrainConfig

POOL_SIZE = 1024
SIZES: Any = {"latent_size": 128, "encoder_width": 8, "encoder_depth": 1}
AUTOMATON: Any = {"hidden_size": 128, "num_blocks": 1, **SIZES}
TRAIN, DATA = TrainConfig(batch_size=32), DataConfig("binarized_mnist")
CONFIGS = {
    "doubling": Config(
        DoublingSizes(num_doublings=2, steps_per_doubling=16, **AUTOMATON), DATA, TRAIN, loss=ElboConfig()
    ),
    "nondoubling": Config(
        NonDoublingSizes(image_size=16, num_steps=40, min_steps=30, max_steps=50, **AUTOMATON),
        DATA,
        TrainConfig(batch_size=256),  # whose states do not fit the fast memory, which is not counted
        loss=PoolConfig(pool_size=POOL_SIZE),
    ),
    "baseline": Config(ConvSizes(image_size=12, **SIZES), DATA, TRAIN, loss=ElboConfig()),
}


def kept_bytes(config: Any, compute: Any, num_images: int) -> int:
    """What a core's plan says that the gradient of its images keeps, of an ELBO at the most steps."""
    model = tpu_programs.model_of(config, compute)

    def loss(model, examples):
        x, noise = examples
        if not isinstance(config.model, NonDoublingSizes):
            terms = bounds.elbo(model, x, noise)
            return -terms.elbo.mean(), terms
        most = config.model.max_steps
        mean, log_variance = model.encode(x)
        cells = model.steps(model.seed(bounds.reparameterize(mean, log_variance, noise)), most)
        return -model.likelihood.log_prob(model.outputs(cells), x).mean(), cells

    shapes = (model.image_size, model.image_size, model.image_channels), (model.latent_size,)
    examples = tuple(jax.ShapeDtypeStruct((1, *shape), "float32") for shape in shapes)
    return num_images * remat.kept_bytes(loss, model, examples)


def main():
    tpu.without_tpu()
    topology = tpu.TOPOLOGIES["v5e:2x4"]
    mesh = tpu.mesh_of(topology)
    compute = tpu.settings(mesh, topology)
    found = {"settings": dataclasses.asdict(compute), "cores": mesh.size, "pool_size": POOL_SIZE}
    for name, config in CONFIGS.items():
        compiled = tpu_programs.update(config, mesh, compute, num_images=config.train.batch_size).compile()
        text, used = compiled.as_text(), compiled.memory_analysis()
        found[name] = {
            "temporary_bytes": used.temp_size_in_bytes,
            "planned_bytes": kept_bytes(config, compute, config.train.batch_size // mesh.size),
            "peak_bytes": used.peak_memory_in_bytes,
            "float64": len(re.findall(r"\b[fc](?:64|128)\[", text)),
            "callbacks": len(re.findall(r"(?:host|python)[_-]?callback|outfeed|infeed", text, re.IGNORECASE)),
            "gathered": sorted({int(n) for n in re.findall(r"= [a-z0-9]+\[(\d+)[\d,]*\]\S* all-gather\(", text)}),
            "convolutions": text.count("convolution("),
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

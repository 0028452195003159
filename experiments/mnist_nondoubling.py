"""The non-doubling VNCA on MNIST, with pool and damage training: Figs. 9, 12 and 17 of the paper, and its number.

    python -m experiments.mnist_nondoubling --preset paper     static binarized MNIST, 28x28, 100,000 updates
    python -m experiments.mnist_nondoubling --preset cpu       scikit-learn's digits, minutes on two cores

IWELBO with 128 samples on the test set: -90.97 nats in the paper, -87.92 in the reproduction study.
Ours: docs/results.md.
"""

import jax.random as jr

from experiments import cli, pictures, resilience
from experiments.cli import Config, DataConfig, Preset
from experiments.losses import PoolConfig
from experiments.resilience import ResilienceConfig
from experiments.run import start
from vnca_jax.losses import pool_loss
from vnca_jax.models import NonDoublingSizes, NonDoublingVNCA
from vnca_jax.train import TrainConfig

PRESETS: dict[Preset, Config] = {
    "paper": Config(
        NonDoublingSizes(),
        DataConfig("binarized_mnist"),
        TrainConfig(batch_size=128),
        loss=PoolConfig(),
        analysis=ResilienceConfig(step_count_images=1000, step_count_samples=128),
    ),
    "cpu": Config(
        NonDoublingSizes(8, 32, 32, num_steps=16, min_steps=4, max_steps=8, encoder_width=16, encoder_depth=2),
        DataConfig("digits"),
        TrainConfig(num_updates=2500, batch_size=64, learning_rate=2e-3, cooldown_updates=1000, report_every=500),
        loss=PoolConfig(beta=0.5),
        analysis=ResilienceConfig(),
    ),
}


def main(config: Config) -> None:
    """Trains or resumes, evaluates, draws, and measures stability and healing."""
    with start("mnist_nondoubling", config) as run:
        sample_key, resilience_key = jr.split(run.keys.draw)
        model = NonDoublingVNCA(config.model, compute=run.compute, key=run.keys.init)
        loss = pool_loss(**config.loss.of_loss)
        state = run.fit(model, loss, report=pictures.reporter(run, key=sample_key))
        model = run.export_and_evaluate(state)
        if run.is_first:
            pictures.trained(run, model, key=sample_key)
        resilience.report(run, model, config.analysis, key=resilience_key)


if __name__ == "__main__":
    cli.main("experiments.mnist_nondoubling", __doc__, PRESETS, main)

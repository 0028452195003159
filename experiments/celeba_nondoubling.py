"""The non-doubling VNCA on CelebA, 32x32, with pool and damage training: Figs. 10, 16 and 17 of the paper.

    python -m experiments.celeba_nondoubling --preset paper     64 to 128 steps, 100,000 updates
    python -m experiments.celeba_nondoubling --preset cpu       fewer steps and channels, an hour on two cores

IWELBO with 128 samples on the test set: 5.03 bits per dimension in the paper. Ours: docs/results.md.
"""

import jax.random as jr

from experiments import cli, pictures, resilience
from experiments.cli import Config, DataConfig, Preset, RunConfig
from experiments.losses import PoolConfig
from experiments.resilience import ResilienceConfig
from experiments.run import start
from vnca_jax.losses import pool_loss
from vnca_jax.models import NonDoublingSizes, NonDoublingVNCA
from vnca_jax.train import TrainConfig

PRESETS: dict[Preset, Config] = {
    "paper": Config(
        NonDoublingSizes(32, 256, 128, 4, num_steps=96, min_steps=64, max_steps=128, image_channels=3, num_mixtures=1),
        DataConfig("celeba"),
        loss=PoolConfig(),
        analysis=ResilienceConfig(step_counts=(32, 64, 80, 96, 112, 128, 192, 256, 512)),
    ),
    "cpu": Config(
        NonDoublingSizes(32, 32, 32, 2, 16, 12, 20, encoder_width=16, image_channels=3, num_mixtures=1),
        DataConfig("celeba"),
        TrainConfig(num_updates=2000, batch_size=16, learning_rate=1e-3, cooldown_updates=700, report_every=500),
        RunConfig(num_samples=16, limit=200),
        PoolConfig(pool_size=256, beta=0.5),
        ResilienceConfig(200, 200, (8, 12, 16, 20, 32, 64)),
    ),
}


def main(config: Config) -> None:
    """Trains or resumes, evaluates, draws, and measures stability and healing."""
    with start("celeba_nondoubling", config) as run:
        sample_key, resilience_key = jr.split(run.keys.draw)
        model = NonDoublingVNCA(config.model, compute=run.compute, key=run.keys.init)
        loss = pool_loss(**config.loss.of_loss)
        state = run.fit(model, loss, report=pictures.reporter(run, key=sample_key))
        model = run.export_and_evaluate(state)
        if run.is_first:
            pictures.trained(run, model, key=sample_key)
        resilience.report(run, model, config.analysis, key=resilience_key)


if __name__ == "__main__":
    cli.main("experiments.celeba_nondoubling", __doc__, PRESETS, main)

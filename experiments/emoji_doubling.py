"""The doubling VNCA on Noto Color Emoji, 64x64: Fig. 13 of the paper (appendix A.4).

    python -m experiments.emoji_doubling --preset paper     64x64, 100,000 updates
    python -m experiments.emoji_doubling --preset cpu       32x32, smaller, for two cores

IWELBO with 128 samples on the test set, a fifth of the emoji: 3.09 bits per dimension in the paper.
Ours: docs/results.md.
"""

import jax.random as jr

from experiments import cli, pictures
from experiments.cli import Config, DataConfig, Preset, RunConfig
from experiments.losses import ElboConfig
from experiments.run import start
from vnca_jax.losses import elbo_loss
from vnca_jax.models import DoublingSizes, DoublingVNCA
from vnca_jax.train import TrainConfig

PRESETS: dict[Preset, Config] = {
    "paper": Config(
        DoublingSizes(num_doublings=5, image_channels=3, num_mixtures=1), DataConfig("emoji"), loss=ElboConfig()
    ),
    "cpu": Config(
        DoublingSizes(32, 32, steps_per_doubling=4, encoder_width=16, image_channels=3, num_mixtures=1),
        DataConfig("emoji"),
        TrainConfig(num_updates=800, batch_size=16, learning_rate=1e-3, cooldown_updates=190, report_every=200),
        RunConfig(num_samples=16, limit=100),
        ElboConfig(),
    ),
}


def main(config: Config) -> None:
    """Trains or resumes, evaluates and draws."""
    with start("emoji_doubling", config) as run:
        sample_key, growth_key = jr.split(run.keys.draw)
        model = DoublingVNCA(config.model, compute=run.compute, key=run.keys.init)
        loss = elbo_loss(beta=config.loss.beta, beta_updates=config.loss.beta_updates)
        state = run.fit(model, loss, report=pictures.reporter(run, key=sample_key))
        model = run.export_and_evaluate(state)
        if run.is_first:
            pictures.trained(run, model, key=sample_key)
            pictures.growth(run.figure("growth.png"), run.figure("growth.gif"), model, key=growth_key)


if __name__ == "__main__":
    cli.main("experiments.emoji_doubling", __doc__, PRESETS, main)

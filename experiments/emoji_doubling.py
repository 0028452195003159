"""The doubling VNCA on Noto Color Emoji, 64x64: Fig. 13 of the paper (appendix A.4).

    python -m experiments.emoji_doubling --preset paper     64x64, 100,000 updates
    python -m experiments.emoji_doubling --preset cpu       32x32, smaller, for two cores

IWELBO with 128 samples on the test set, a fifth of the emoji: 3.09 bits per dimension in the paper. Ours: README.
"""

from experiments import cli, doubling
from experiments.doubling import ModelConfig
from experiments.elbo import ColourConfig
from vnca_jax.train import TrainConfig

PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(ModelConfig(num_doublings=5), cli.DataConfig("emoji"), loss=ColourConfig()),
    "cpu": cli.Config(
        ModelConfig(latent_size=32, hidden_size=32, steps_per_doubling=4, encoder_width=16),
        cli.DataConfig("emoji"),
        TrainConfig(num_updates=800, batch_size=16, learning_rate=1e-3, cooldown_updates=190, report_every=200),
        cli.RunConfig(num_samples=16, limit=100),
        ColourConfig(),
    ),
}


def main(config: cli.Config) -> None:
    """Trains or resumes, evaluates and draws."""
    doubling.main("emoji_doubling", config)


if __name__ == "__main__":
    cli.main("experiments.emoji_doubling", __doc__, PRESETS, main)

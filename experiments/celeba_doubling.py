"""The doubling VNCA on CelebA, 64x64: Fig. 6 of the paper; with --beta 100 Figs. 7, 8, 14 and 15.

    python -m experiments.celeba_doubling --preset paper                             100,000 updates
    python -m experiments.celeba_doubling --preset paper --beta 100 --name beta100   better samples, a looser bound
    python -m experiments.celeba_doubling --preset cpu                               32x32, smaller, for two cores

IWELBO with 128 samples on the test set: 4.42 bits per dimension in the paper, 5.40 with beta = 100. Ours: README.
"""

from experiments import cli, doubling
from experiments.doubling import ModelConfig
from experiments.elbo import ColourConfig
from vnca_jax.train import TrainConfig

PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(ModelConfig(num_doublings=5), cli.DataConfig("celeba"), loss=ColourConfig()),
    "cpu": cli.Config(
        ModelConfig(latent_size=32, hidden_size=32, steps_per_doubling=4, encoder_width=16),
        cli.DataConfig("celeba"),
        TrainConfig(num_updates=1500, batch_size=16, learning_rate=1e-3, cooldown_updates=600, report_every=250),
        cli.RunConfig(num_samples=16, limit=200),
        ColourConfig(),
    ),
}


def main(config: cli.Config) -> None:
    """Trains or resumes, evaluates and draws."""
    doubling.main("celeba_doubling", config)


if __name__ == "__main__":
    cli.main("experiments.celeba_doubling", __doc__, PRESETS, main)

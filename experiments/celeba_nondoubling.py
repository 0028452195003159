"""The non-doubling VNCA on CelebA, 32x32, with pool and damage training: Figs. 10, 16 and 17 of the paper.

    python -m experiments.celeba_nondoubling --preset paper     64 to 128 steps, 100,000 updates
    python -m experiments.celeba_nondoubling --preset cpu       fewer steps and channels, an hour on two cores

IWELBO with 128 samples on the test set: 5.03 bits per dimension in the paper. Ours: README.
"""

from experiments import cli, nondoubling, resilience
from experiments.nondoubling import ColourPoolConfig, ModelConfig
from vnca_jax.train import TrainConfig

PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(
        ModelConfig(32, 256, 128, 4, num_steps=96, min_steps=64, max_steps=128),
        cli.DataConfig("celeba"),
        loss=ColourPoolConfig(),
        analysis=resilience.ResilienceConfig(step_counts=(32, 64, 80, 96, 112, 128, 192, 256, 512)),
    ),
    "cpu": cli.Config(
        ModelConfig(32, 32, 32, 2, num_steps=16, min_steps=12, max_steps=20, encoder_width=16),
        cli.DataConfig("celeba"),
        TrainConfig(num_updates=2000, batch_size=16, learning_rate=1e-3, cooldown_updates=700, report_every=500),
        cli.RunConfig(num_samples=16, limit=200),
        ColourPoolConfig(pool_size=256, beta=0.5),
        resilience.ResilienceConfig(200, 200, (8, 12, 16, 20, 32, 64)),
    ),
}


def main(config: cli.Config) -> None:
    """Trains or resumes, evaluates, measures stability and healing, and draws."""
    nondoubling.main("celeba_nondoubling", config)


if __name__ == "__main__":
    cli.main("experiments.celeba_nondoubling", __doc__, PRESETS, main)

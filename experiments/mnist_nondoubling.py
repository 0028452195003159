"""The non-doubling VNCA on MNIST, with pool and damage training: Figs. 9, 12 and 17 of the paper, and its number.

    python -m experiments.mnist_nondoubling --preset paper     static binarized MNIST, 28x28, 100,000 updates
    python -m experiments.mnist_nondoubling --preset cpu       scikit-learn's digits, minutes on two cores

IWELBO with 128 samples on the test set: -90.97 nats in the paper, -87.92 in the reproduction study. Ours: README.
"""

from experiments import cli, nondoubling, resilience
from experiments.nondoubling import ModelConfig, PoolConfig
from vnca_jax.train import TrainConfig

PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(
        ModelConfig(),
        cli.DataConfig("binarized_mnist"),
        TrainConfig(batch_size=128),
        loss=PoolConfig(),
        analysis=resilience.ResilienceConfig(step_count_images=1000, step_count_samples=128),
    ),
    "cpu": cli.Config(
        ModelConfig(8, 32, 32, num_steps=16, min_steps=4, max_steps=8, encoder_width=16, encoder_depth=2),
        cli.DataConfig("digits"),
        TrainConfig(num_updates=2500, batch_size=64, learning_rate=2e-3, cooldown_updates=1000, report_every=500),
        loss=PoolConfig(beta=0.5),
        analysis=resilience.ResilienceConfig(),
    ),
}


def main(config: cli.Config) -> None:
    """Trains or resumes, evaluates, measures stability and healing, and draws."""
    nondoubling.main("mnist_nondoubling", config)


if __name__ == "__main__":
    cli.main("experiments.mnist_nondoubling", __doc__, PRESETS, main)

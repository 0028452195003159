"""The doubling VNCA on MNIST: Figs. 3 and 4 of the paper, and its first row of numbers.

    python -m experiments.mnist_doubling --preset paper     static binarized MNIST, 100,000 updates
    python -m experiments.mnist_doubling --preset cpu       scikit-learn's digits, minutes on two cores

IWELBO with 128 samples on the test set: -84.23 nats in the paper, -83.56 in the reproduction study. Ours: README.
"""

from experiments import cli, doubling
from experiments.doubling import ModelConfig
from experiments.elbo import ElboConfig
from vnca_jax.train import TrainConfig

PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(ModelConfig(), cli.DataConfig("binarized_mnist"), loss=ElboConfig()),
    "cpu": cli.Config(
        ModelConfig(latent_size=32, hidden_size=32, num_doublings=2, encoder_width=16, encoder_depth=2),
        cli.DataConfig("digits"),
        TrainConfig(num_updates=1500, learning_rate=2e-3, cooldown_updates=500, report_every=500),
        loss=ElboConfig(),
    ),
}


def main(config: cli.Config) -> None:
    """Trains or resumes, evaluates and draws."""
    doubling.main("mnist_doubling", config)


if __name__ == "__main__":
    cli.main("experiments.mnist_doubling", __doc__, PRESETS, main)

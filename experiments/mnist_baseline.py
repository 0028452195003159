"""The convolutional VAE on MNIST that the paper holds its automata against: Fig. 5 and appendix A.6.

    python -m experiments.mnist_baseline --preset paper     static binarized MNIST, 28x28, 100,000 updates
    python -m experiments.mnist_baseline --preset cpu       scikit-learn's digits, a minute or two on two cores

IWELBO with 128 samples on the test set: not given in the paper, -83.88 and -84.64 in two versions of the reproduction
study. Ours: README.
"""

from experiments import baseline, cli
from experiments.baseline import ModelConfig
from experiments.elbo import ElboConfig
from vnca_jax.train import TrainConfig

PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(ModelConfig(), cli.DataConfig("binarized_mnist"), loss=ElboConfig()),
    "cpu": cli.Config(
        ModelConfig(image_size=8, latent_size=32, encoder_width=16, encoder_depth=2),
        cli.DataConfig("digits"),
        TrainConfig(num_updates=1500, learning_rate=2e-3, cooldown_updates=500, report_every=500),
        loss=ElboConfig(),
    ),
}


def main(config: cli.Config) -> None:
    """Trains or resumes, evaluates and draws."""
    baseline.main("mnist_baseline", config)


if __name__ == "__main__":
    cli.main("experiments.mnist_baseline", __doc__, PRESETS, main)

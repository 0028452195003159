"""The convolutional VAE on MNIST that the paper holds its automata against: Fig. 5 and appendix A.6.

    python -m experiments.mnist_baseline --preset paper     static binarized MNIST, 28x28, 100,000 updates
    python -m experiments.mnist_baseline --preset cpu       scikit-learn's digits, a minute or two on two cores

IWELBO with 128 samples on the test set: not given in the paper, -83.88 and -84.64 in two versions of the reproduction
study. Ours: docs/results.md.
"""

from experiments import cli, pictures
from experiments.cli import Config, DataConfig, Preset
from experiments.losses import ElboConfig
from experiments.run import start
from vnca_jax.losses import elbo_loss
from vnca_jax.models import ConvSizes, ConvVAE
from vnca_jax.train import TrainConfig

PRESETS: dict[Preset, Config] = {
    "paper": Config(ConvSizes(), DataConfig("binarized_mnist"), loss=ElboConfig()),
    "cpu": Config(
        ConvSizes(image_size=8, latent_size=32, encoder_width=16, encoder_depth=2),
        DataConfig("digits"),
        TrainConfig(num_updates=1500, learning_rate=2e-3, cooldown_updates=500, report_every=500),
        loss=ElboConfig(),
    ),
}


def main(config: Config) -> None:
    """Trains or resumes, evaluates and draws."""
    with start("mnist_baseline", config) as run:
        model = ConvVAE(config.model, compute=run.compute, key=run.keys.init)
        loss = elbo_loss(beta=config.loss.beta, beta_updates=config.loss.beta_updates)
        state = run.fit(model, loss, report=pictures.reporter(run, key=run.keys.draw))
        model = run.export_and_evaluate(state)
        if run.is_first:
            pictures.trained(run, model, key=run.keys.draw)


if __name__ == "__main__":
    cli.main("experiments.mnist_baseline", __doc__, PRESETS, main)

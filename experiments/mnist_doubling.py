"""The doubling VNCA on MNIST: Figs. 3 and 4 of the paper, and its first row of numbers.

    python -m experiments.mnist_doubling --preset paper     static binarized MNIST, 100,000 updates
    python -m experiments.mnist_doubling --preset cpu       scikit-learn's digits, minutes on two cores

IWELBO with 128 samples on the test set: -84.23 nats in the paper, -83.56 in the reproduction study.
Ours: docs/results.md.
"""

import jax.random as jr

from experiments import cli, pictures
from experiments.cli import Config, DataConfig, Preset
from experiments.losses import ElboConfig
from experiments.run import start
from vnca_jax.losses import elbo_loss
from vnca_jax.models import DoublingSizes, DoublingVNCA
from vnca_jax.train import TrainConfig

PRESETS: dict[Preset, Config] = {
    "paper": Config(DoublingSizes(), DataConfig("binarized_mnist"), loss=ElboConfig()),
    "cpu": Config(
        DoublingSizes(latent_size=32, hidden_size=32, num_doublings=2, encoder_width=16, encoder_depth=2),
        DataConfig("digits"),
        TrainConfig(num_updates=1500, learning_rate=2e-3, cooldown_updates=500, report_every=500),
        loss=ElboConfig(),
    ),
}


def main(config: Config) -> None:
    """Trains or resumes, evaluates and draws."""
    with start("mnist_doubling", config) as run:
        sample_key, growth_key = jr.split(run.keys.draw)
        model = DoublingVNCA(config.model, compute=run.compute, key=run.keys.init)
        loss = elbo_loss(beta=config.loss.beta, beta_updates=config.loss.beta_updates)
        state = run.fit(model, loss, report=pictures.reporter(run, key=sample_key))
        model = run.export_and_evaluate(state)
        if run.is_first:
            pictures.trained(run, model, key=sample_key)
            pictures.growth(run.figure("growth.png"), run.figure("growth.gif"), model, key=growth_key)


if __name__ == "__main__":
    cli.main("experiments.mnist_doubling", __doc__, PRESETS, main)

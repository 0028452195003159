"""The doubling VNCA on MNIST: Figs. 3 and 4 of the paper, and its first row of numbers.

    python -m experiments.mnist_doubling --preset paper     static binarized MNIST, 100,000 updates
    python -m experiments.mnist_doubling --preset cpu       scikit-learn's digits, minutes on two cores

IWELBO with 128 samples on the test set: -84.23 nats in the paper, -83.56 in the reproduction study. Ours: README.
"""

import dataclasses

import jax.random as jr

from experiments import cli, pictures
from vnca_jax.losses import elbo_loss
from vnca_jax.models import DoublingVNCA
from vnca_jax.train import TrainConfig


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model; the defaults are the paper's."""

    latent_size: int = 256
    """Numbers in z, and in a cell."""
    hidden_size: int = 256
    """Channels inside the update network."""
    num_doublings: int = 4
    """Doublings, K; images have 2^(K + 1) pixels a side."""
    steps_per_doubling: int = 8
    """NCA steps before the first and after each doubling, M."""
    num_blocks: int = 4
    """Residual blocks of the update network."""
    encoder_width: int = 32
    """Channels of the encoder's first convolution; each further one doubles them."""
    encoder_depth: int = 4
    """Convolutions of stride 2 in the encoder."""


PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(ModelConfig(), cli.DataConfig("binarized_mnist")),
    "cpu": cli.Config(
        ModelConfig(latent_size=32, hidden_size=32, num_doublings=2, encoder_width=16, encoder_depth=2),
        cli.DataConfig("digits"),
        TrainConfig(num_updates=1500, learning_rate=2e-3, cooldown_updates=500, report_every=500),
    ),
}


def build(config: cli.Config, *, key):
    """The model, its loss and the loss's first carry."""
    model = DoublingVNCA(**dataclasses.asdict(config.model), key=key)
    return model, elbo_loss(chunk_size=config.train.chunk_size), None


def main(config: cli.Config) -> None:
    """Trains or resumes, evaluates and draws."""
    image_size = 2 ** (config.model.num_doublings + 1)
    with cli.start("mnist_doubling", config, image_size) as run:
        model, loss, carry = build(config, key=run.keys.init)
        sample_key, growth_key = jr.split(run.keys.draw)
        state = run.fit(loss, model, carry, report=pictures.reporter(run, key=sample_key))
        run.export_and_evaluate(state)
        pictures.trained(run, state.model, key=sample_key)
        pictures.growth(run.figure("growth.png"), run.figure("growth.gif"), state.model, key=growth_key)


if __name__ == "__main__":
    cli.main("experiments.mnist_doubling", __doc__, PRESETS, main)

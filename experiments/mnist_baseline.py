"""The convolutional VAE on MNIST that the paper holds its automata against: Fig. 5 and appendix A.6.

    python -m experiments.mnist_baseline --preset paper     static binarized MNIST, 28x28, 100,000 updates
    python -m experiments.mnist_baseline --preset cpu       scikit-learn's digits, a minute or two on two cores

IWELBO with 128 samples on the test set: not given in the paper, -83.88 and -84.64 in two versions of the reproduction
study. Ours: README.
"""

import dataclasses

from experiments import cli, pictures
from vnca_jax.losses import elbo_loss
from vnca_jax.models import ConvVAE
from vnca_jax.train import TrainConfig


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model; the defaults are the paper's."""

    image_size: int = 28
    """Pixels a side; larger than the dataset's adds a zero border."""
    latent_size: int = 128
    """Numbers in z."""
    encoder_width: int = 32
    """Channels of the encoder's first convolution; each further one doubles them, and the decoder halves them again."""
    encoder_depth: int = 4
    """Convolutions of stride 2 in the encoder, and transposed ones in the decoder."""


PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(ModelConfig(), cli.DataConfig("binarized_mnist")),
    "cpu": cli.Config(
        ModelConfig(image_size=8, latent_size=32, encoder_width=16, encoder_depth=2),
        cli.DataConfig("digits"),
        TrainConfig(num_updates=1500, learning_rate=2e-3, cooldown_updates=500, report_every=500),
    ),
}


def build(config: cli.Config, *, key):
    """The model, its loss and the loss's first carry."""
    model = ConvVAE(**dataclasses.asdict(config.model), key=key)
    return model, elbo_loss(chunk_size=config.train.chunk_size), None


def main(config: cli.Config) -> None:
    """Trains or resumes, evaluates and draws."""
    with cli.start("mnist_baseline", config, config.model.image_size) as run:
        model, loss, carry = build(config, key=run.keys.init)
        state = run.fit(loss, model, carry, report=pictures.reporter(run, key=run.keys.draw))
        run.export_and_evaluate(state)
        pictures.trained(run, state.model, key=run.keys.draw)


if __name__ == "__main__":
    cli.main("experiments.mnist_baseline", __doc__, PRESETS, main)

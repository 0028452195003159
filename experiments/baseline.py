"""What the experiments with the convolutional baseline share: the model's flags, its training and its pictures."""

import dataclasses
from typing import Any

from experiments import cli, pictures
from experiments.doubling import ColourConfig
from vnca_jax.losses import elbo_loss
from vnca_jax.models import ConvVAE


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model; the defaults are the paper's for MNIST."""

    image_size: int = 28
    """Pixels a side; larger than the dataset's adds a zero border."""
    latent_size: int = 128
    """Numbers in z."""
    encoder_width: int = 32
    """Channels of the encoder's first convolution; each further one doubles them, and the decoder halves them again."""
    encoder_depth: int = 4
    """Convolutions of stride 2 in the encoder, and transposed ones in the decoder."""


def build(config: cli.Config, *, key: Any, **changes: Any) -> tuple[ConvVAE, Any, None]:
    """The model, its loss and the loss's first carry; `changes` are further arguments of the model."""
    arguments, beta = dataclasses.asdict(config.model), 1.0
    if isinstance(config.loss, ColourConfig):
        arguments |= {"image_channels": 3, "num_mixtures": config.loss.num_mixtures}
        beta = config.loss.beta
    model = ConvVAE(**(arguments | changes), key=key)
    return model, elbo_loss(beta=beta, chunk_size=config.train.chunk_size), None


def main(experiment: str, config: cli.Config, **changes: Any) -> None:
    """Trains or resumes, evaluates and draws."""
    with cli.start(experiment, config, config.model.image_size) as run:
        model, loss, carry = build(config, key=run.keys.init, **changes)
        state = run.fit(loss, model, carry, report=pictures.reporter(run, key=run.keys.draw))
        run.export_and_evaluate(state)
        pictures.trained(run, state.model, key=run.keys.draw)

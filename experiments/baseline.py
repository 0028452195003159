"""What the experiments with the convolutional baseline share: the model's flags, its training and its pictures."""

import dataclasses
from typing import Any

import jax

from experiments import checks, cli, elbo, pictures
from experiments.run import start
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


def main(experiment: str, config: cli.Config, **changes: Any) -> None:
    """Trains or resumes, evaluates and draws."""
    checks.check_model((config.model, config.loss), lambda key: elbo.build(ConvVAE, config, key=key, **changes)[0])
    with start(experiment, config, config.model.image_size) as run:
        model, loss = elbo.build(ConvVAE, config, key=run.keys.init, **changes)
        state = run.fit(model, loss, report=pictures.reporter(run, key=run.keys.draw))
        run.export_and_evaluate(state)
        if run.is_first:
            pictures.trained(run, jax.device_get(state.trained_model), key=run.keys.draw)

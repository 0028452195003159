"""What the experiments share whose models are trained on the ELBO alone: the likelihood's flags and the loss."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from experiments import cli
from vnca_jax.losses import elbo_loss

Model = TypeVar("Model")


@dataclasses.dataclass(frozen=True)
class ColourConfig:
    """The likelihood of colours, and the weight of the KL."""

    num_mixtures: int = 1
    """Logistic components of a pixel's colour, L."""
    beta: float = 1.0
    """Weight of the KL; the paper takes 100 for better samples and a looser bound."""


def build(model_type: Callable[..., Model], config: cli.Config, *, key: Any, **changes: Any) -> tuple[Model, Any, None]:
    """The model, its loss and the loss's first carry; `changes` are further arguments of the model."""
    arguments, beta = dataclasses.asdict(config.model), 1.0
    if isinstance(config.loss, ColourConfig):
        arguments |= {"image_channels": 3, "num_mixtures": config.loss.num_mixtures}
        beta = config.loss.beta
    model = model_type(**(arguments | changes), key=key)
    return model, elbo_loss(beta=beta, chunk_size=config.train.chunk_size), None

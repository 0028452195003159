"""What the experiments share whose models are trained on the ELBO alone: the likelihood's flags and the loss."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from experiments import cli
from vnca_jax.losses import Loss, elbo_loss

Model = TypeVar("Model")


@dataclasses.dataclass(frozen=True)
class ElboConfig:
    """The weight of the KL."""

    beta: float = 1.0
    """Weight of the KL; the paper takes 100 on CelebA for better samples and a looser bound."""
    beta_updates: int = 0
    """First updates, over which the weight of the KL rises from zero; 0 starts with the whole."""


@dataclasses.dataclass(frozen=True)
class ColourConfig(ElboConfig):
    """The likelihood of colours, and the weight of the KL."""

    num_mixtures: int = 1
    """Logistic components of a pixel's colour, L."""


def build(model_type: Callable[..., Model], config: cli.Config, *, key: Any, **changes: Any) -> tuple[Model, Loss]:
    """The model and its loss; `changes` are further arguments of the model."""
    arguments, options = dataclasses.asdict(config.model), config.loss
    if isinstance(options, ColourConfig):
        arguments |= {"image_channels": 3, "num_mixtures": options.num_mixtures}
    model = model_type(**(arguments | changes), key=key)
    return model, elbo_loss(beta=options.beta, beta_updates=options.beta_updates)

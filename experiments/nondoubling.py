"""What the experiments with the non-doubling VNCA share: flags, pool, training, and what is measured and drawn."""

import dataclasses
from typing import Any

import jax
import jax.random as jr

from experiments import cli, pictures, resilience
from vnca_jax import pool
from vnca_jax.losses import pool_loss
from vnca_jax.models import NonDoublingVNCA


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model; the defaults are the paper's for MNIST."""

    image_size: int = 28
    """Pixels a side; larger than the dataset's adds a zero border."""
    latent_size: int = 128
    """Numbers in z, and in a cell."""
    hidden_size: int = 128
    """Channels inside the update network."""
    num_blocks: int = 0
    """Residual blocks of the update network; 0 is the simple one of the paper's MNIST model."""
    num_steps: int = 48
    """NCA steps T of evaluation and pictures."""
    min_steps: int = 32
    """Fewest NCA steps of a training batch, whose T is uniform."""
    max_steps: int = 64
    """Most NCA steps of a training batch, included."""
    update_probability: float = 1.0
    """Probability that a step updates a cell."""
    encoder_width: int = 32
    """Channels of the encoder's first convolution; each further one doubles them."""
    encoder_depth: int = 4
    """Convolutions of stride 2 in the encoder."""


@dataclasses.dataclass(frozen=True)
class PoolConfig:
    """The pool, and the loss of training with it."""

    pool_size: int = 1024
    """States in the pool, P, over all devices."""
    beta: float = 1.0
    """Weight of the KL; 0.5 makes up for the half of a batch whose KL counts though its z is not decoded."""


@dataclasses.dataclass(frozen=True)
class ColourPoolConfig:
    """The pool, the loss of training with it, and the likelihood of colours."""

    pool_size: int = 1024
    """States in the pool, P, over all devices."""
    beta: float = 1.0
    """Weight of the KL; 0.5 makes up for the half of a batch whose KL counts though its z is not decoded."""
    num_mixtures: int = 1
    """Logistic components of a pixel's colour, L."""


def build(config: cli.Config, *, key: Any) -> tuple[NonDoublingVNCA, Any, pool.Pool]:
    """The model, its loss and the loss's first carry."""
    arguments = dataclasses.asdict(config.model)
    if isinstance(config.loss, ColourPoolConfig):
        arguments |= {"image_channels": 3, "num_mixtures": config.loss.num_mixtures}
    model = NonDoublingVNCA(**arguments, key=key)
    image_shape = (model.image_size, model.image_size, model.image_channels)
    carry = pool.empty(config.loss.pool_size, image_shape, model.latent_size)
    return model, pool_loss(beta=config.loss.beta, chunk_size=config.train.chunk_size), carry


def main(experiment: str, config: cli.Config) -> None:
    """Trains or resumes, evaluates, measures stability and healing, and draws."""
    with cli.start(experiment, config, config.model.image_size) as run:
        pool.check_sizes(config.loss.pool_size, config.train.batch_size, run.mesh)
        model, loss, carry = build(config, key=run.keys.init)
        sample_key, resilience_key = jr.split(run.keys.draw)
        state = run.fit(loss, model, carry, report=pictures.reporter(run, key=sample_key))
        run.export_and_evaluate(state)
        model = jax.device_get(state.model)
        if run.is_first:
            pictures.trained(run, model, key=sample_key)
        resilience.report(run, model, config.analysis, key=resilience_key)

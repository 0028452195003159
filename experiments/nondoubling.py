"""What the experiments with the non-doubling VNCA share: flags, pool, training, and what is measured and drawn."""

import dataclasses
from typing import Any

import jax
import jax.random as jr

from experiments import cli, pictures, resilience
from vnca_jax import pool
from vnca_jax.errors import InputError
from vnca_jax.losses import pool_loss
from vnca_jax.models import NonDoublingVNCA
from vnca_jax.schedules import StepRange


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
    beta_updates: int = 0
    """First updates, over which the weight of the KL rises from zero; 0 starts with the whole."""
    pool_from: int = 0
    """Updates on plain batches, before the pool begins."""
    first_min_steps: int | None = None
    """Fewest NCA steps of the first batches, from which T's range grows to --min-steps and --max-steps."""
    first_max_steps: int | None = None
    """Most NCA steps of the first batches, included."""
    growing_updates: int = 0
    """First updates, over which T's range grows; 0 starts with the whole."""

    @property
    def step_range(self) -> StepRange | None:
        """How the range of T grows."""
        if not self.growing_updates:
            return None
        return StepRange(self.first_min_steps, self.first_max_steps, self.growing_updates)

    def __post_init__(self):
        cli.check_at_least(self, {"beta_updates": 0, "pool_from": 0, "growing_updates": 0, "first_min_steps": 1})
        given = [self.first_min_steps, self.first_max_steps]
        if (None in given) == bool(self.growing_updates) or given.count(None) == 1:
            raise InputError(
                "--first-min-steps, --first-max-steps and --growing-updates go together, but only some are given; "
                "give all three, or none."
            )
        if self.growing_updates and self.first_min_steps > self.first_max_steps:
            raise InputError(
                f"--first-min-steps is {self.first_min_steps}, but must be at most --first-max-steps, "
                f"{self.first_max_steps}."
            )


@dataclasses.dataclass(frozen=True)
class ColourPoolConfig(PoolConfig):
    """The pool, the loss of training with it, and the likelihood of colours."""

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
    loss = pool_loss(
        beta=config.loss.beta,
        beta_updates=config.loss.beta_updates,
        pool_from=config.loss.pool_from,
        step_range=config.loss.step_range,
        chunk_size=config.train.chunk_size,
    )
    return model, loss, carry


def main(experiment: str, config: cli.Config) -> None:
    """Trains or resumes, evaluates, measures stability and healing, and draws."""
    with cli.start(experiment, config, config.model.image_size) as run:
        pool.check_sizes(config.loss.pool_size, config.train.batch_size, run.mesh)
        model, loss, carry = build(config, key=run.keys.init)
        sample_key, resilience_key = jr.split(run.keys.draw)
        state = run.fit(loss, model, carry, report=pictures.reporter(run, key=sample_key))
        run.export_and_evaluate(state)
        model = jax.device_get(state.trained_model)
        if run.is_first:
            pictures.trained(run, model, key=sample_key)
        resilience.report(run, model, config.analysis, key=resilience_key)

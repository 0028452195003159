"""What the experiments with the non-doubling VNCA share: flags, pool, training, and what is measured and drawn."""

import dataclasses
from typing import Any

import jax
import jax.random as jr

from experiments import checks, cli, pictures, resilience
from experiments.run import start
from vnca_jax import parallel, pool
from vnca_jax.errors import InputError
from vnca_jax.losses import Loss, pool_loss
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
    growing_updates: int = 0
    """First updates, over which T's range grows to --min-steps and --max-steps; 0 starts with the whole."""
    first_min_steps: int = 0
    """Fewest NCA steps of the first batch, where T's range grows."""
    first_max_steps: int = 0
    """Most NCA steps of the first batch, included."""

    @property
    def step_range(self) -> StepRange | None:
        """How the range of T grows."""
        first = self.first_min_steps, self.first_max_steps
        return StepRange(*first, self.growing_updates) if self.growing_updates else None

    def __post_init__(self):
        cli.check_at_least(self, {"beta_updates": 0, "pool_from": 0, "growing_updates": 0, "first_min_steps": 0})
        given = [bool(value) for value in (self.first_min_steps, self.first_max_steps, self.growing_updates)]
        if any(given) and not all(given):
            raise InputError(
                "`first_min_steps`, `first_max_steps` and `growing_updates` go together, but only some are given; "
                "give all three, or none."
            )
        if self.first_min_steps > self.first_max_steps:
            raise InputError(
                f"`first_min_steps` is {self.first_min_steps}, but must be at most `first_max_steps`, "
                f"{self.first_max_steps}."
            )


@dataclasses.dataclass(frozen=True)
class ColourPoolConfig(PoolConfig):
    """The pool, the loss of training with it, and the likelihood of colours."""

    num_mixtures: int = 1
    """Logistic components of a pixel's colour, L."""


def build(config: cli.Config, *, key: Any) -> tuple[NonDoublingVNCA, Loss]:
    """The model and its loss."""
    arguments = dataclasses.asdict(config.model)
    if isinstance(config.loss, ColourPoolConfig):
        arguments |= {"image_channels": 3, "num_mixtures": config.loss.num_mixtures}
    model = NonDoublingVNCA(**arguments, key=key)
    loss = pool_loss(
        size=config.loss.pool_size,
        beta=config.loss.beta,
        beta_updates=config.loss.beta_updates,
        pool_from=config.loss.pool_from,
        step_range=config.loss.step_range,
    )
    return model, loss


def main(experiment: str, config: cli.Config) -> None:
    """Trains or resumes, evaluates, measures stability and healing, and draws."""
    pool.check_sizes(config.loss.pool_size, config.train.batch_size, parallel.make_mesh(config.run.num_devices).size)
    checks.check_model((config.model, config.loss), lambda key: build(config, key=key)[0])
    with start(experiment, config, config.model.image_size) as run:
        model, loss = build(config, key=run.keys.init)
        sample_key, resilience_key = jr.split(run.keys.draw)
        state = run.fit(model, loss, report=pictures.reporter(run, key=sample_key))
        run.export_and_evaluate(state)
        model = jax.device_get(state.trained_model)
        if run.is_first:
            pictures.trained(run, model, key=sample_key)
        resilience.report(run, model, config.analysis, key=resilience_key)

"""The flags of the losses; vnca_jax.losses has the losses themselves."""

import dataclasses
from typing import Any

from experiments.cli import check_at_least
from vnca_jax.errors import InputError
from vnca_jax.schedules import StepRange


@dataclasses.dataclass(frozen=True)
class ElboConfig:
    """The weight of the KL."""

    beta: float = 1.0
    """Weight of the KL; the paper takes 100 on CelebA for better samples and a looser bound."""
    beta_updates: int = 0
    """Updates at the start over which the weight of the KL rises from zero; 0 starts with all of it."""


@dataclasses.dataclass(frozen=True)
class PoolConfig:
    """The pool, and the loss of training with it."""

    pool_size: int = 1024
    """States in the pool, P, over all devices."""
    beta: float = 1.0
    """Weight of the KL; 0.5 makes up for the half of a batch that counts its KL without decoding its z."""
    beta_updates: int = 0
    """Updates at the start over which the weight of the KL rises from zero; 0 starts with all of it."""
    pool_from: int = 0
    """Updates on plain batches before the pool begins."""
    growing_updates: int = 0
    """Updates at the start over which T's range grows to --min-steps and --max-steps; 0 starts with all of it."""
    first_min_steps: int = 0
    """Fewest NCA steps of the first batch, where T's range grows."""
    first_max_steps: int = 0
    """Most NCA steps of the first batch, included."""

    @property
    def of_loss(self) -> dict[str, Any]:
        """The arguments of `pool_loss`."""
        first = self.first_min_steps, self.first_max_steps
        return {
            "size": self.pool_size,
            "beta": self.beta,
            "beta_updates": self.beta_updates,
            "pool_from": self.pool_from,
            "step_range": StepRange(*first, self.growing_updates) if self.growing_updates else None,
        }

    def __post_init__(self):
        check_at_least(self, {"beta_updates": 0, "pool_from": 0, "growing_updates": 0, "first_min_steps": 0})
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

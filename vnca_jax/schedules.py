"""What changes while a model trains: the learning rate, the weight of the KL, the range of T.

All are functions of the step alone, which is part of the training state, so a resumed run has the same values.
"""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Shape = Literal["linear", "cosine"]


def rise(step: Int[Array, ""], num_updates: int) -> Float[Array, ""]:
    """From 1 / num_updates at step 0 to 1 at step num_updates - 1 and after: min((step + 1) / num_updates, 1)."""
    return jnp.clip((step + 1) / num_updates, 0, 1)


@dataclasses.dataclass(frozen=True)
class LearningRate:
    """The share of the learning rate that each step takes: it rises linearly, stays, and falls during `cooldown`.

    The fall is linear, c = (stop - step) / len(cooldown), or cosine, c' = (1 - cos(pi c)) / 2, and ends at the share
    `cooldown_to`: e + (1 - e) c.
    """

    warmup_updates: int = 0
    cooldown: range = range(0)
    cooldown_shape: Shape = "linear"
    cooldown_to: float = 0.0

    @property
    def is_constant(self) -> bool:
        """Whether every step takes the whole learning rate."""
        return not (self.warmup_updates or self.cooldown)

    def share(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The share at `step`, from 0 to 1."""
        share: Any = jnp.ones(())
        if self.warmup_updates:
            share = rise(step, self.warmup_updates)
        if self.cooldown:
            left = jnp.clip((self.cooldown.stop - step) / len(self.cooldown), 0, 1)
            left = (1 - jnp.cos(jnp.pi * left)) / 2 if self.cooldown_shape == "cosine" else left
            share = share * (self.cooldown_to + (1 - self.cooldown_to) * left)
        return share


def moving_average_decay(step: Int[Array, ""], decay: float) -> Float[Array, ""]:
    """The decay of a moving average at `step`, min(decay, (1 + step) / (10 + step)): it soon forgets early values."""
    return jnp.minimum(decay, (1 + step) / (10 + step))


@dataclasses.dataclass(frozen=True)
class StepRange:
    """The range of T: from U{first_min, ..., first_max} it grows to the model's own over `growing_updates` updates.

    Both ends move linearly and are rounded to whole steps.
    """

    first_min: int
    first_max: int
    growing_updates: int

    def at(self, step: Int[Array, ""], last_min: int, last_max: int) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """The fewest and the most steps of the update at `step`, both included."""
        share = jnp.clip(step / self.growing_updates, 0, 1)

        def between(first, last):
            return jnp.round(first + share * (last - first)).astype(jnp.int32)

        return between(self.first_min, last_min), between(self.first_max, last_max)

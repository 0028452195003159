"""The order of the training images as a function of (key, step), so that a resumed run seeks instead of replaying."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int32, PRNGKeyArray

from vnca_jax.errors import InputError

INT32_MAX = 2**31 - 1


def batch_order(
    key: PRNGKeyArray, start_step: int | Int32[Array, ""], num_steps: int, batch_size: int, num_examples: int
) -> Int32[Array, "num_steps batch"]:
    """Indices of the images in the batches of steps start_step, ..., start_step + num_steps - 1.

    Image i of the batch of a step stands at position p = step * batch_size + i of an endless row of epochs; epoch e is
    permutation(fold_in(key, e), num_examples), and the image is permutation[p // num_examples][p % num_examples]. So an
    epoch shows every image once, and a batch may straddle epochs. `start_step` may be traced, the sizes are static.

    Raises InputError for sizes below 1, and for sizes whose positions int32 cannot hold.
    """
    _check_sizes(num_steps, batch_size, num_examples)
    # p passes int32 in long runs, but epochs start at a batch again after every `period` steps, that is after
    # `period_epochs` epochs: only steps since then are multiplied.
    common = math.gcd(batch_size, num_examples)
    period, period_epochs = num_examples // common, batch_size // common
    periods, steps_since = jnp.divmod(jnp.asarray(start_step, jnp.int32), period)
    epochs_since, offset = jnp.divmod(steps_since * batch_size, num_examples)
    first_epoch = periods * period_epochs + epochs_since

    num_images = num_steps * batch_size
    epochs = first_epoch + jnp.arange(math.ceil(num_images / num_examples) + 1, dtype=jnp.int32)
    permutations = jax.lax.map(lambda epoch: jr.permutation(jr.fold_in(key, epoch), num_examples), epochs)
    positions = offset + jnp.arange(num_images, dtype=jnp.int32)
    indices = permutations.reshape(-1)[positions]
    return indices.reshape(num_steps, batch_size)


def _check_sizes(num_steps: int, batch_size: int, num_examples: int) -> None:
    for name, size in (("num_steps", num_steps), ("batch_size", batch_size), ("num_examples", num_examples)):
        if size < 1:
            raise InputError(f"`{name}` is {size} but must be at least 1.")
    positions = max(math.lcm(batch_size, num_examples), num_examples + num_steps * batch_size)
    if positions + num_examples > INT32_MAX:
        raise InputError(
            f"{num_steps} steps of {batch_size} out of {num_examples} images need positions up to {positions}, "
            f"beyond int32: take fewer steps at a time, or a batch size with a larger factor in common with the images."
        )

"""The likelihood of binary images."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Real


class Bernoulli(eqx.Module):
    """Independent binary pixels; the outputs are logits, one for each pixel and image channel (section 2)."""

    def num_outputs(self, image_channels: int) -> int:
        """How many channels of a cell the likelihood reads."""
        return image_channels

    def from_levels(self, levels: Real[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        """Images x from a dataset's levels 0 and 1, which they keep."""
        return levels.astype(jnp.float32)

    def log_prob(self, logits: Float[Array, "*batch h w c"], x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch"]:
        """log p(x) = sum over pixels of -softplus((1 - 2x) logit), in nats per image; exact at any finite logit."""
        return -jnp.sum(jax.nn.softplus((1 - 2 * x) * logits), axis=(-3, -2, -1))

    def sample(self, logits: Float[Array, "*batch h w c"], *, key: PRNGKeyArray) -> Float[Array, "*batch h w c"]:
        """x ~ p(x): zeros and ones."""
        return jr.bernoulli(key, self.mean(logits)).astype(logits.dtype)

    def mean(self, logits: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        """E[x] = sigmoid(logit)."""
        return jax.nn.sigmoid(logits)

    def pixel_error(
        self, logits: Float[Array, "*batch h w c"], x: Float[Array, "*batch h w c"]
    ) -> Float[Array, "*batch"]:
        """The share of pixels where E[x] rounds to the wrong value."""
        return (jnp.round(self.mean(logits)) != x).mean(axis=(-3, -2, -1))

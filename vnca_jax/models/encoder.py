"""q(z|x), which all models share."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from vnca_jax.compute import Formulation
from vnca_jax.conv import Conv, Dense, elu
from vnca_jax.models.vae import Sizes


class Encoder(eqx.Module):
    """q(z|x): 5x5 convolutions with ELU, then a dense layer to the mean and log-variance of z (appendix A.5).

    The first convolution has stride 1 and `encoder_width` channels; each of the `encoder_depth` others has stride 2 and
    doubles them.
    """

    convs: tuple[Conv, ...]
    dense: Dense

    def __init__(self, sizes: Sizes, *, first_padding: int = 2, key: PRNGKeyArray):
        width, depth = sizes.encoder_width, sizes.encoder_depth
        first_key, dense_key, *keys = jr.split(key, 2 + depth)
        convs = [Conv(sizes.image_channels, width, 5, padding=first_padding, key=first_key)]
        size = sizes.image_size + 2 * first_padding - 4
        for i, conv_key in enumerate(keys):
            convs.append(Conv(width << i, width << (i + 1), 5, stride=2, padding=2, key=conv_key))
            size = (size + 1) // 2
        self.convs = tuple(convs)
        self.dense = Dense(size * size * (width << depth), 2 * sizes.latent_size, key=dense_key)

    def __call__(
        self, x: Float[Array, "*batch h w c"], formulation: Formulation | None = None
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """The mean and log-variance of q(z|x)."""
        for conv in self.convs:
            x = elu(conv(x, formulation))
        mean, log_variance = jnp.split(self.dense(x.reshape(*x.shape[:-3], -1)), 2, axis=-1)
        return mean, log_variance


def padding_to_power_of_two(image_size: int) -> int:
    """Padding of the first 5x5 convolution that makes its output's side a power of two: 4 for 28 pixels, 2 for 32."""
    return 2 + ((1 << (image_size - 1).bit_length()) - image_size) // 2

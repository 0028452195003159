"""The deep convolutional baseline, which the paper holds its automata against."""

import equinox as eqx
import jax.random as jr
from einops import rearrange
from jaxtyping import Array, Float, PRNGKeyArray

from vnca_jax.conv import Dense, elu
from vnca_jax.conv_transpose import ConvTranspose
from vnca_jax.errors import InputError
from vnca_jax.likelihoods import Likelihood, make_likelihood
from vnca_jax.models.encoder import Encoder, padding_to_two_power
from vnca_jax.models.sizes import check_sizes


class ConvVAE(eqx.Module):
    """The convolutional VAE (appendix A.6): the decoder is the encoder mirrored, or deeper than it (appendix A.1).

    A dense layer fills the smallest grid, with ELU if `dense_elu`; `decoder_depth` transposed 5x5 convolutions with ELU
    double its sides and halve its channels; a last one of stride 1 leaves the likelihood's parameters on the image's
    pixels.
    """

    encoder: Encoder
    dense: Dense
    transposed: tuple[ConvTranspose, ...]
    likelihood: Likelihood
    image_size: int = eqx.field(static=True)
    image_channels: int = eqx.field(static=True)
    latent_size: int = eqx.field(static=True)
    encoder_width: int = eqx.field(static=True)
    encoder_depth: int = eqx.field(static=True)
    num_mixtures: int = eqx.field(static=True)
    decoder_depth: int = eqx.field(static=True)
    dense_elu: bool = eqx.field(static=True)

    def __init__(
        self,
        *,
        image_size: int = 28,
        image_channels: int = 1,
        latent_size: int = 128,
        encoder_width: int = 32,
        encoder_depth: int = 4,
        num_mixtures: int = 0,
        decoder_depth: int | None = None,
        dense_elu: bool = False,
        key: PRNGKeyArray,
    ):
        """The paper's MNIST model by default: 9,495,809 parameters. `decoder_depth` None stands for `encoder_depth`.

        The pixels are binary, or colours of `num_mixtures` components. Raises InputError for a size below one, images
        whose sides cannot be halved `decoder_depth` times, or such colours without 3 image channels.
        """
        self.image_size = image_size
        self.image_channels = image_channels
        self.latent_size = latent_size
        self.encoder_width = encoder_width
        self.encoder_depth = encoder_depth
        self.num_mixtures = num_mixtures
        self.decoder_depth = encoder_depth if decoder_depth is None else decoder_depth
        self.dense_elu = dense_elu
        check_sizes(self, may_be_zero=("encoder_depth", "num_mixtures", "decoder_depth", "dense_elu"))
        if self._full_side % (1 << self.decoder_depth):
            name = "encoder_depth" if decoder_depth is None else "decoder_depth"
            raise InputError(
                f"image_size is {image_size}, but with {name} {self.decoder_depth} it must be an even number above "
                f"{1 << self.decoder_depth >> 1}."
            )
        self.likelihood = make_likelihood(num_mixtures)
        padding = padding_to_two_power(image_size)
        encoder_key, dense_key, last_key, *keys = jr.split(key, 3 + self.decoder_depth)
        self.encoder = Encoder(
            image_size=image_size,
            image_channels=image_channels,
            latent_size=latent_size,
            width=encoder_width,
            depth=encoder_depth,
            first_padding=padding,
            key=encoder_key,
        )
        widths = [encoder_width << i for i in reversed(range(self.decoder_depth + 1))]
        self.dense = Dense(latent_size, self._first_side**2 * widths[0], key=dense_key)
        doubling = [
            ConvTranspose(2 * width, width, 5, stride=2, padding=2, key=layer_key)
            for width, layer_key in zip(widths[1:], keys, strict=True)
        ]
        num_parameters = self.likelihood.num_parameters(image_channels)
        self.transposed = (*doubling, ConvTranspose(widths[-1], num_parameters, 5, padding=padding, key=last_key))

    @property
    def _full_side(self) -> int:
        """Cells a side of the largest grids, after the encoder's first convolution and before the decoder's last."""
        return self.image_size + 2 * padding_to_two_power(self.image_size) - 4

    @property
    def _first_side(self) -> int:
        """Cells a side of the smallest grid, where the decoder starts."""
        return self._full_side >> self.decoder_depth

    @property
    def activation_size(self) -> int:
        """Numbers in the largest activation of decoding one latent: what the pixels see for the last convolution."""
        return self.image_size**2 * 25 * self.encoder_width

    @property
    def trajectory_size(self) -> int:
        """Numbers kept for the gradient of one image, about: what the cells see for the convolutions, and the outputs.

        Per cell of a full grid and first channel these are 25 for the decoder's last convolution, less than 25/4 + 25/8
        + ... for the encoder's strided ones, and 1 + 1/2 + ... for the outputs of each side.
        """
        return self._full_side**2 * 42 * self.encoder_width

    @property
    def recomputed_size(self) -> int:
        """The same, since there are no steps to compute again."""
        return self.trajectory_size

    def encode(
        self, x: Float[Array, "*batch h w c"]
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """The mean and log-variance of q(z|x)."""
        return self.encoder(x)

    @property
    def num_stages(self) -> int:
        """How many transposed convolutions double the grid."""
        return len(self.transposed) - 1

    def seed(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch _ _ hidden"]:
        """The smallest grid, which the dense layer fills."""
        side = self._first_side
        x = rearrange(self.dense(z), "... (h w c) -> ... h w c", h=side, w=side)
        return elu(x) if self.dense_elu else x

    def stage(self, k: int, hidden: Float[Array, "*batch _ _ hidden"]) -> Float[Array, "*batch _ _ half_as_many"]:
        """Stage k of the decoding: a transposed convolution that doubles the grid, then ELU."""
        return elu(self.transposed[k](hidden))

    def parameters(self, hidden: Float[Array, "*batch _ _ width"]) -> Float[Array, "*batch h w parameters"]:
        """The likelihood's parameters from the last stage's grid."""
        return self.transposed[-1](hidden)

    def decode(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch h w parameters"]:
        """The likelihood's parameters for p(x|z)."""
        hidden = self.seed(z)
        for k in range(self.num_stages):
            hidden = self.stage(k, hidden)
        return self.parameters(hidden)

    def sample(self, num_samples: int, *, key: PRNGKeyArray) -> Float[Array, "n h w parameters"]:
        """The likelihood's parameters for z ~ p(z) = N(0, I)."""
        return self.decode(jr.normal(key, (num_samples, self.latent_size)))

"""The deep convolutional baseline, which the paper holds its automata against."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.random as jr
from einops import rearrange
from jaxtyping import Array, Float, PRNGKeyArray

from vnca_jax import compute as computing
from vnca_jax.compute import Compute
from vnca_jax.conv import Dense, elu
from vnca_jax.conv_transpose import ConvTranspose
from vnca_jax.errors import InputError
from vnca_jax.likelihoods import Likelihood, make_likelihood
from vnca_jax.models.encoder import Encoder, padding_to_power_of_two
from vnca_jax.models.sizes import check_sizes
from vnca_jax.models.vae import VAE


@dataclasses.dataclass(frozen=True)
class ConvSizes:
    """The model; the defaults are the paper's for MNIST: 9,495,809 parameters."""

    image_size: int = 28
    """Pixels per side; a size above the dataset's adds a zero border."""
    latent_size: int = 128
    """Numbers in z."""
    encoder_width: int = 32
    """Channels of the encoder's first convolution; each further one doubles them, and the decoder halves them again."""
    encoder_depth: int = 4
    """Convolutions of stride 2 in the encoder, and transposed ones in the decoder."""
    image_channels: int = 1
    """Channels of a pixel: 1, or 3 colours."""
    num_mixtures: int = 0
    """Logistic components of a pixel's colour, L; 0 for binary pixels."""
    decoder_depth: int | None = None
    """Transposed convolutions of stride 2 in the decoder; None is as many as the encoder has."""
    dense_elu: bool = False
    """Apply ELU after the decoder's dense layer, as the paper does on CelebA."""

    def __post_init__(self):
        """Raises InputError for a size below one, images whose sides cannot be halved as often as the decoder doubles
        them, or a mixture of colours without 3 image channels.
        """
        check_sizes(self, may_be_zero=("encoder_depth", "num_mixtures", "decoder_depth", "dense_elu"))
        make_likelihood(self.num_mixtures).num_outputs(self.image_channels)
        if self.full_side % (1 << self.num_doublings):
            name = "encoder_depth" if self.decoder_depth is None else "decoder_depth"
            raise InputError(
                f"`image_size` is {self.image_size}, but with `{name}` {self.num_doublings} it must be an even number "
                f"above {1 << self.num_doublings >> 1}."
            )

    @property
    def num_doublings(self) -> int:
        """How often the decoder doubles its grid."""
        return self.encoder_depth if self.decoder_depth is None else self.decoder_depth

    @property
    def full_side(self) -> int:
        """Cells per side of the largest grids, after the encoder's first convolution and before the decoder's last."""
        return self.image_size + 2 * padding_to_power_of_two(self.image_size) - 4

    @property
    def first_side(self) -> int:
        """Cells per side of the smallest grid, where the decoder starts."""
        return self.full_side >> self.num_doublings


class ConvVAE(VAE):
    """The convolutional VAE (appendix A.6): the decoder is the encoder mirrored, or deeper than it (appendix A.1).

    A dense layer fills the smallest grid, with ELU if `dense_elu`; `decoder_depth` transposed 5x5 convolutions with ELU
    double its sides and halve its channels; a last one of stride 1 leaves the decoder's outputs on the image's
    pixels.
    """

    encoder: Encoder
    dense: Dense
    transposed: tuple[ConvTranspose, ...]
    likelihood: Likelihood
    sizes: ConvSizes = eqx.field(static=True)
    compute: Compute = eqx.field(static=True)

    def __init__(
        self, sizes: ConvSizes = ConvSizes(), *, compute: Compute | None = None, key: PRNGKeyArray, **changes: Any
    ):
        """A model of these sizes, `changes` some of them by name; `compute` None suits JAX's default device.

        Raises InputError as the sizes do.
        """
        self.compute = compute or computing.choose()
        self.sizes = sizes = dataclasses.replace(sizes, **changes)
        self.likelihood = make_likelihood(sizes.num_mixtures)
        padding = padding_to_power_of_two(sizes.image_size)
        encoder_key, dense_key, last_key, *keys = jr.split(key, 3 + sizes.num_doublings)
        self.encoder = Encoder(sizes, first_padding=padding, key=encoder_key)
        widths = [sizes.encoder_width << i for i in reversed(range(sizes.num_doublings + 1))]
        self.dense = Dense(sizes.latent_size, sizes.first_side**2 * widths[0], key=dense_key)
        doubling = [
            ConvTranspose(2 * width, width, 5, stride=2, padding=2, key=layer_key)
            for width, layer_key in zip(widths[1:], keys, strict=True)
        ]
        num_outputs = self.likelihood.num_outputs(sizes.image_channels)
        self.transposed = (*doubling, ConvTranspose(widths[-1], num_outputs, 5, padding=padding, key=last_key))

    def encode(
        self, x: Float[Array, "*batch h w c"]
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """The mean and log-variance of q(z|x)."""
        return self.encoder(x, self.compute.formulation)

    @property
    def num_stages(self) -> int:
        """How many transposed convolutions double the grid."""
        return len(self.transposed) - 1

    def seed(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch _ _ hidden"]:
        """The smallest grid, which the dense layer fills."""
        side = self.sizes.first_side
        x = rearrange(self.dense(z), "... (h w c) -> ... h w c", h=side, w=side)
        return elu(x) if self.sizes.dense_elu else x

    def stage(self, k: int, hidden: Float[Array, "*batch _ _ hidden"]) -> Float[Array, "*batch _ _ half_as_many"]:
        """Stage k of the decoding: a transposed convolution that doubles the grid, then ELU."""
        return elu(self.transposed[k](hidden, self.compute.formulation))

    def outputs(self, hidden: Float[Array, "*batch _ _ width"]) -> Float[Array, "*batch h w outputs"]:
        """The decoder's outputs from the last stage's grid."""
        return self.transposed[-1](hidden, self.compute.formulation)

    def decode(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch h w outputs"]:
        """The decoder's outputs for p(x|z)."""
        hidden = self.seed(z)
        for k in range(self.num_stages):
            hidden = self.stage(k, hidden)
        return self.outputs(hidden)

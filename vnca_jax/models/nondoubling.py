"""The non-doubling VNCA, whose grid keeps its size, so that it can run for any number of steps and heal."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from vnca_jax import automaton, update_networks
from vnca_jax import compute as computing
from vnca_jax.compute import Compute
from vnca_jax.errors import InputError
from vnca_jax.likelihoods import Likelihood, make_likelihood
from vnca_jax.models.encoder import Encoder, padding_to_power_of_two
from vnca_jax.models.sizes import check_cell_size, check_sizes
from vnca_jax.models.vae import VNCA
from vnca_jax.update_networks import UpdateNetwork

MASK_SEED = 0  # of the cells that are updated when a model with an update probability below one decodes


@dataclasses.dataclass(frozen=True)
class NonDoublingSizes:
    """The model; the defaults are the paper's for MNIST: 5,042,304 parameters."""

    image_size: int = 28
    """Pixels per side; a size above the dataset's adds a zero border."""
    latent_size: int = 128
    """Numbers in z, and in a cell."""
    hidden_size: int = 128
    """Channels inside the update network."""
    num_blocks: int = 0
    """Residual blocks of the update network."""
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
    image_channels: int = 1
    """Channels of a pixel: 1, or 3 colours."""
    num_mixtures: int = 0
    """Logistic components of a pixel's colour, L; 0 for binary pixels."""
    update_network: str = ""
    """Name of the update network; empty is the paper's, simple without residual blocks and else residual."""

    @property
    def name_of_network(self) -> str:
        """The name of the update network, the paper's where none is given."""
        return self.update_network or ("residual" if self.num_blocks else "simple")

    def __post_init__(self):
        """Raises InputError for a size below one, an unknown update network, cells too small for the decoder's
        outputs, a mixture of colours without 3 image channels, fewest steps beyond the most, or an update
        probability outside (0, 1].
        """
        check_sizes(self, may_be_zero=("encoder_depth", "num_mixtures", "num_blocks"))
        if self.min_steps > self.max_steps:
            raise InputError(f"`min_steps` is {self.min_steps}, but must be at most `max_steps`, {self.max_steps}.")
        if not 0 < self.update_probability <= 1:
            raise InputError(f"`update_probability` is {self.update_probability}, but must be above 0 and at most 1.")
        update_networks.check_name(self.name_of_network)
        check_cell_size(self.latent_size, self.num_mixtures, self.image_channels)


class NonDoublingVNCA(VNCA):
    """The non-doubling VNCA (section 3.3, Fig. 12): z on every cell of the image's grid, T steps.

    It is trained with T ~ U{min_steps, ..., max_steps} and decodes with T = `num_steps`. The first channels of the
    final cells are the decoder's outputs.
    """

    encoder: Encoder
    update: UpdateNetwork
    likelihood: Likelihood
    sizes: NonDoublingSizes = eqx.field(static=True)
    compute: Compute = eqx.field(static=True)

    def __init__(
        self,
        sizes: NonDoublingSizes = NonDoublingSizes(),
        *,
        compute: Compute | None = None,
        key: PRNGKeyArray,
        **changes: Any,
    ):
        """A model of these sizes, `changes` some of them by name; `compute` None suits JAX's default device.

        Raises InputError as the sizes do.
        """
        self.compute = compute or computing.choose()
        self.sizes = sizes = dataclasses.replace(sizes, **changes)
        self.likelihood = make_likelihood(sizes.num_mixtures)
        encoder_key, update_key = jr.split(key)
        self.encoder = Encoder(sizes, first_padding=padding_to_power_of_two(sizes.image_size), key=encoder_key)
        self.update = update_networks.make(
            sizes.name_of_network, sizes.latent_size, sizes.hidden_size, sizes.num_blocks, key=update_key
        )

    @property
    def num_steps(self) -> int:
        """NCA steps T of `decode` and `grow`."""
        return self.sizes.num_steps

    def encode(
        self, x: Float[Array, "*batch h w c"]
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """The mean and log-variance of q(z|x)."""
        return self.encoder(x, self.compute.formulation)

    def seed(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch h w cell"]:
        """The first cells: z in each of them."""
        return jnp.broadcast_to(z[..., None, None, :], (*z.shape[:-1], self.image_size, self.image_size, z.shape[-1]))

    def steps(
        self,
        cells: Float[Array, "*batch h w cell"],
        num_steps: int | Int[Array, ""],
        *,
        keep: bool = False,
        max_steps: int | None = None,
        keys: Key[Array, "*keys"] | None = None,
    ) -> Float[Array, "..."]:
        """`num_steps` more steps, as `automaton.run` takes them.

        `keys` draw the updated cells where the update probability is below one; without them it is one fixed sequence.
        """
        if keys is None and self.sizes.update_probability < 1:
            keys = jr.key(MASK_SEED)
        return automaton.run(
            self.update,
            cells,
            num_steps,
            keep=keep,
            max_steps=max_steps,
            update_probability=self.sizes.update_probability,
            key=keys,
            compute=self.compute,
        )

    def decode(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch h w outputs"]:
        """The decoder's outputs for p(x|z), after `num_steps` steps."""
        return self.outputs(self.steps(self.seed(z), self.num_steps))

    def grow(self, z: Float[Array, "*batch latent"]) -> list[Float[Array, "steps *batch h w cell"]]:
        """All cell states of the growth as one stage: the seed, then each of `num_steps` steps (Fig. 17)."""
        cells = self.seed(z)
        return [jnp.concatenate([cells[None], self.steps(cells, self.num_steps, keep=True)])]

    def outputs(self, cells: Float[Array, "*batch h w cell"]) -> Float[Array, "*batch h w outputs"]:
        """The decoder's outputs that cells show, at any step."""
        return cells[..., : self.likelihood.num_outputs(self.image_channels)]

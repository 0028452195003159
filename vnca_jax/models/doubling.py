"""The doubling VNCA, whose image grows by cell division."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from vnca_jax import automaton, update_networks
from vnca_jax import compute as computing
from vnca_jax.compute import Compute
from vnca_jax.likelihoods import Likelihood, make_likelihood
from vnca_jax.models.encoder import Encoder
from vnca_jax.models.sizes import check_cell_size, check_sizes
from vnca_jax.models.vae import VNCA
from vnca_jax.update_networks import UpdateNetwork


@dataclasses.dataclass(frozen=True)
class DoublingSizes:
    """The model; the defaults are the paper's for MNIST: 6,585,088 parameters."""

    latent_size: int = 256
    """Numbers in z, and in a cell."""
    hidden_size: int = 256
    """Channels inside the update network."""
    num_doublings: int = 4
    """Doublings, K; images have 2^(K + 1) pixels per side."""
    steps_per_doubling: int = 8
    """NCA steps before the first and after each doubling, M."""
    num_blocks: int = 4
    """Residual blocks of the update network."""
    encoder_width: int = 32
    """Channels of the encoder's first convolution; each further one doubles them."""
    encoder_depth: int = 4
    """Convolutions of stride 2 in the encoder."""
    image_channels: int = 1
    """Channels of a pixel: 1, or 3 colours."""
    num_mixtures: int = 0
    """Logistic components of a pixel's colour, L; 0 for binary pixels."""
    update_network: str = "residual"
    """Name of the update network; the paper's is residual, and appendix A.8 has others."""
    one_per_scale: bool = False
    """Give each scale of the growth an update network of its own."""

    def __post_init__(self):
        """Raises InputError for a size below one, an unknown update network, cells too small for the decoder's
        outputs, or a mixture of colours without 3 image channels.
        """
        check_sizes(self, may_be_zero=("num_blocks", "encoder_depth", "num_mixtures", "one_per_scale"))
        update_networks.check_name(self.update_network)
        check_cell_size(self.latent_size, self.num_mixtures, self.image_channels)

    @property
    def image_size(self) -> int:
        """Pixels per side, 2^(K + 1)."""
        return 2 ** (self.num_doublings + 1)


class DoublingVNCA(VNCA):
    """The doubling VNCA (section 2): z on a 2x2 grid of cells, M steps, then K times a doubling and M steps.

    Images have 2^(K + 1) pixels per side; the first channels of the final cells are the decoder's outputs.
    """

    encoder: Encoder
    update: UpdateNetwork | tuple[UpdateNetwork, ...]
    likelihood: Likelihood
    sizes: DoublingSizes = eqx.field(static=True)
    compute: Compute = eqx.field(static=True)

    def __init__(
        self,
        sizes: DoublingSizes = DoublingSizes(),
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
        self.encoder = Encoder(sizes, key=encoder_key)
        networks = [
            update_networks.make(sizes.update_network, sizes.latent_size, sizes.hidden_size, sizes.num_blocks, key=k)
            for k in (jr.split(update_key, self.num_stages) if sizes.one_per_scale else [update_key])
        ]
        self.update = tuple(networks) if sizes.one_per_scale else networks[0]

    def encode(
        self, x: Float[Array, "*batch h w c"]
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """The mean and log-variance of q(z|x)."""
        return self.encoder(x, self.compute.formulation)

    @property
    def num_stages(self) -> int:
        """How many stages a growth has: one before the first and one after each doubling, K + 1."""
        return self.sizes.num_doublings + 1

    def update_of(self, k: int) -> UpdateNetwork:
        """The update network of stage k."""
        return self.update[k] if isinstance(self.update, tuple) else self.update

    def seed(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch 2 2 cell"]:
        """The first cells: z on a 2x2 grid."""
        return jnp.broadcast_to(z[..., None, None, :], (*z.shape[:-1], 2, 2, self.latent_size))

    def stage(self, k: int, cells: Float[Array, "*batch _ _ cell"]) -> Float[Array, "*batch _ _ cell"]:
        """Stage k of the growth: the doubling that all but the first one begin with, then M steps."""
        cells = automaton.double(cells) if k else cells
        return automaton.run(self.update_of(k), cells, self.sizes.steps_per_doubling, compute=self.compute)

    def decode(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch h w outputs"]:
        """The decoder's outputs for p(x|z)."""
        cells = self.seed(z)
        for k in range(self.num_stages):
            cells = self.stage(k, cells)
        return self.outputs(cells)

    def grow(self, z: Float[Array, "*batch latent"]) -> list[Float[Array, "steps *batch h w cell"]]:
        """All cell states of the growth, one array a stage: its seed (or doubled cells), then each step (Fig. 4)."""
        stages = []
        cells = self.seed(z)
        for k in range(self.num_stages):
            cells = automaton.double(cells) if k else cells
            update, steps = self.update_of(k), self.sizes.steps_per_doubling
            states = automaton.run(update, cells, steps, keep=True, compute=self.compute)
            stages.append(jnp.concatenate([cells[None], states]))
            cells = states[-1]
        return stages

    def outputs(self, cells: Float[Array, "*batch h w cell"]) -> Float[Array, "*batch h w outputs"]:
        """The decoder's outputs that cells show, at any stage of growth."""
        return cells[..., : self.likelihood.num_outputs(self.image_channels)]

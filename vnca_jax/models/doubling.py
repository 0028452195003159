"""The doubling VNCA, whose image grows by cell division."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from vnca_jax import automaton, update_networks
from vnca_jax.likelihoods import Likelihood, make_likelihood
from vnca_jax.models.encoder import Encoder
from vnca_jax.models.sizes import check_cell_size, check_sizes


class DoublingVNCA(eqx.Module):
    """The doubling VNCA (section 2): z on a 2x2 grid of cells, M steps, then K times a doubling and M steps.

    Images have 2^(K + 1) pixels a side; the first channels of the final cells are the likelihood's parameters.
    """

    encoder: Encoder
    update: automaton.UpdateNetwork | tuple[automaton.UpdateNetwork, ...]
    likelihood: Likelihood
    image_channels: int = eqx.field(static=True)
    latent_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    num_doublings: int = eqx.field(static=True)
    steps_per_doubling: int = eqx.field(static=True)
    num_blocks: int = eqx.field(static=True)
    encoder_width: int = eqx.field(static=True)
    encoder_depth: int = eqx.field(static=True)
    num_mixtures: int = eqx.field(static=True)
    update_network: str = eqx.field(static=True)
    one_per_scale: bool = eqx.field(static=True)

    def __init__(
        self,
        *,
        image_channels: int = 1,
        latent_size: int = 256,
        hidden_size: int = 256,
        num_doublings: int = 4,
        steps_per_doubling: int = 8,
        num_blocks: int = 4,
        encoder_width: int = 32,
        encoder_depth: int = 4,
        num_mixtures: int = 0,
        update_network: str = "residual",
        one_per_scale: bool = False,
        key: PRNGKeyArray,
    ):
        """The paper's MNIST model by default: 6,585,088 parameters. `latent_size` is also the size of a cell.

        The pixels are binary, or colours of `num_mixtures` components. `update_network` is a name of UPDATE_NETWORKS;
        each scale of the growth may have one of its own. Raises InputError for a size below one, an unknown name, cells
        too small for the likelihood's parameters, or such colours without 3 image channels.
        """
        self.image_channels = image_channels
        self.latent_size = latent_size
        self.hidden_size = hidden_size
        self.num_doublings = num_doublings
        self.steps_per_doubling = steps_per_doubling
        self.num_blocks = num_blocks
        self.encoder_width = encoder_width
        self.encoder_depth = encoder_depth
        self.num_mixtures = num_mixtures
        self.update_network = update_network
        self.one_per_scale = one_per_scale
        check_sizes(self, may_be_zero=("num_blocks", "encoder_depth", "num_mixtures", "one_per_scale"))
        self.likelihood = make_likelihood(num_mixtures)
        check_cell_size(latent_size, self.likelihood.num_parameters(image_channels))
        encoder_key, update_key = jr.split(key)
        self.encoder = Encoder(
            image_size=self.image_size,
            image_channels=image_channels,
            latent_size=latent_size,
            width=encoder_width,
            depth=encoder_depth,
            key=encoder_key,
        )
        networks = [
            update_networks.make(update_network, latent_size, hidden_size, num_blocks, key=k)
            for k in (jr.split(update_key, self.num_stages) if one_per_scale else [update_key])
        ]
        self.update = tuple(networks) if one_per_scale else networks[0]

    @property
    def image_size(self) -> int:
        """Pixels a side, 2^(K + 1)."""
        return 2 ** (self.num_doublings + 1)

    @property
    def activation_size(self) -> int:
        """Numbers in the largest activation of decoding one latent: every cell of the final grid, at its widest."""
        return self.image_size**2 * max(self.latent_size, self.hidden_size)

    @property
    def trajectory_size(self) -> int:
        """Numbers kept for the gradient of one image, about: cell updates of all stages times the layers' widths."""
        return self._cell_updates * self._step_size

    @property
    def recomputed_size(self) -> int:
        """Numbers kept if the inside of each step is computed again, about: all cells, and the largest step."""
        return self._cell_updates * self.latent_size + self.image_size**2 * self._step_size

    @property
    def _cell_updates(self) -> int:
        """Updates of single cells in all stages."""
        return sum(self.steps_per_doubling * 4 ** (k + 1) for k in range(self.num_doublings + 1))

    @property
    def _step_size(self) -> int:
        """Numbers that the update of a cell keeps."""
        return 2 * self.latent_size + 2 * (self.num_blocks + 1) * self.hidden_size

    def encode(
        self, x: Float[Array, "*batch h w c"]
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """The mean and log-variance of q(z|x)."""
        return self.encoder(x)

    @property
    def num_stages(self) -> int:
        """How many stages a growth has: one before the first and one after each doubling, K + 1."""
        return self.num_doublings + 1

    def update_of(self, k: int) -> automaton.UpdateNetwork:
        """The update network of stage k."""
        return self.update[k] if isinstance(self.update, tuple) else self.update

    def seed(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch 2 2 cell"]:
        """The first cells: z on a 2x2 grid."""
        return jnp.broadcast_to(z[..., None, None, :], (*z.shape[:-1], 2, 2, self.latent_size))

    def stage(self, k: int, cells: Float[Array, "*batch _ _ cell"]) -> Float[Array, "*batch _ _ cell"]:
        """Stage k of the growth: the doubling that all but the first one begin with, then M steps."""
        return automaton.run(self.update_of(k), automaton.double(cells) if k else cells, self.steps_per_doubling)

    def decode(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch h w parameters"]:
        """The likelihood's parameters for p(x|z)."""
        cells = self.seed(z)
        for k in range(self.num_stages):
            cells = self.stage(k, cells)
        return self.parameters(cells)

    def grow(self, z: Float[Array, "*batch latent"]) -> list[Float[Array, "steps *batch h w cell"]]:
        """All cell states of the growth, one array a stage: its seed (or doubled cells), then each step (Fig. 4)."""
        stages = []
        cells = self.seed(z)
        for k in range(self.num_stages):
            cells = automaton.double(cells) if k else cells
            states = automaton.run(self.update_of(k), cells, self.steps_per_doubling, keep=True)
            stages.append(jnp.concatenate([cells[None], states]))
            cells = states[-1]
        return stages

    def parameters(self, cells: Float[Array, "*batch h w cell"]) -> Float[Array, "*batch h w parameters"]:
        """The likelihood's parameters that cells show, at any stage of growth."""
        return cells[..., : self.likelihood.num_parameters(self.image_channels)]

    def sample(self, num_samples: int, *, key: PRNGKeyArray) -> Float[Array, "n h w parameters"]:
        """The likelihood's parameters for z ~ p(z) = N(0, I)."""
        return self.decode(jr.normal(key, (num_samples, self.latent_size)))

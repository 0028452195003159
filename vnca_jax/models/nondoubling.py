"""The non-doubling VNCA, whose grid keeps its size, so that it can run for any number of steps and heal."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from vnca_jax import automaton
from vnca_jax.errors import InputError
from vnca_jax.likelihoods import Likelihood, make_likelihood
from vnca_jax.models.encoder import Encoder, padding_to_two_power
from vnca_jax.models.sizes import check_cell_size, check_sizes

MASK_SEED = 0  # of the cells that are updated when a model with an update probability below one decodes


class NonDoublingVNCA(eqx.Module):
    """The non-doubling VNCA (section 3.3, Fig. 12): z on every cell of the image's grid, T steps.

    It is trained with T ~ U{min_steps, ..., max_steps} and decodes with T = `num_steps`. The first channels of the
    final cells are the likelihood's parameters.
    """

    encoder: Encoder
    update: automaton.SimpleUpdate | automaton.ResidualUpdate
    likelihood: Likelihood
    image_size: int = eqx.field(static=True)
    image_channels: int = eqx.field(static=True)
    latent_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    min_steps: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    update_probability: float = eqx.field(static=True)
    encoder_width: int = eqx.field(static=True)
    encoder_depth: int = eqx.field(static=True)
    num_mixtures: int = eqx.field(static=True)
    num_blocks: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        image_size: int = 28,
        image_channels: int = 1,
        latent_size: int = 128,
        hidden_size: int = 128,
        num_steps: int = 48,
        min_steps: int = 32,
        max_steps: int = 64,
        update_probability: float = 1.0,
        encoder_width: int = 32,
        encoder_depth: int = 4,
        num_mixtures: int = 0,
        num_blocks: int = 0,
        key: PRNGKeyArray,
    ):
        """The paper's MNIST model by default: 5,042,304 parameters. `latent_size` is also the size of a cell.

        The update network is the simple one, or the doubling VNCA's with `num_blocks` residual blocks. The pixels are
        binary, or colours of `num_mixtures` components. Raises InputError for a size below one, cells
        too small for the likelihood's parameters, such colours without 3 image channels, fewest steps beyond the most,
        or an update probability outside (0, 1].
        """
        self.image_size = image_size
        self.image_channels = image_channels
        self.latent_size = latent_size
        self.hidden_size = hidden_size
        self.num_steps = num_steps
        self.min_steps = min_steps
        self.max_steps = max_steps
        self.update_probability = update_probability
        self.encoder_width = encoder_width
        self.encoder_depth = encoder_depth
        self.num_mixtures = num_mixtures
        self.num_blocks = num_blocks
        check_sizes(self, may_be_zero=("encoder_depth", "num_mixtures", "num_blocks"))
        if min_steps > max_steps:
            raise InputError(f"min_steps is {min_steps}, but must be at most max_steps, {max_steps}.")
        if not 0 < update_probability <= 1:
            raise InputError(f"update_probability is {update_probability}, but must be above 0 and at most 1.")
        self.likelihood = make_likelihood(num_mixtures)
        check_cell_size(latent_size, self.likelihood.num_parameters(image_channels))
        encoder_key, update_key = jr.split(key)
        self.encoder = Encoder(
            image_size=image_size,
            image_channels=image_channels,
            latent_size=latent_size,
            width=encoder_width,
            depth=encoder_depth,
            first_padding=padding_to_two_power(image_size),
            key=encoder_key,
        )
        if num_blocks:
            self.update = automaton.ResidualUpdate(latent_size, hidden_size, num_blocks, key=update_key)
        else:
            self.update = automaton.SimpleUpdate(latent_size, hidden_size, key=update_key)

    @property
    def activation_size(self) -> int:
        """Numbers in the largest activation of decoding one latent: every cell, at its widest."""
        return self.image_size**2 * max(self.latent_size, self.hidden_size)

    @property
    def trajectory_size(self) -> int:
        """Numbers kept for the gradient of one image, about: cell updates of the longest run times widths."""
        return self.image_size**2 * self.max_steps * self._step_size

    @property
    def recomputed_size(self) -> int:
        """Numbers kept likewise if the inside of each step is computed again, about: all cells, and one step."""
        return self.image_size**2 * (self.max_steps * self.latent_size + self._step_size)

    @property
    def _step_size(self) -> int:
        """Numbers that the update of a cell keeps."""
        return 2 * (self.latent_size + (self.num_blocks + 1) * self.hidden_size)

    def encode(
        self, x: Float[Array, "*batch h w c"]
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """The mean and log-variance of q(z|x)."""
        return self.encoder(x)

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
        if keys is None and self.update_probability < 1:
            keys = jr.key(MASK_SEED)
        return automaton.run(
            self.update,
            cells,
            num_steps,
            keep=keep,
            max_steps=max_steps,
            update_probability=self.update_probability,
            key=keys,
        )

    def decode(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch h w parameters"]:
        """The likelihood's parameters for p(x|z), after `num_steps` steps."""
        return self.parameters(self.steps(self.seed(z), self.num_steps))

    def grow(self, z: Float[Array, "*batch latent"]) -> list[Float[Array, "steps *batch h w cell"]]:
        """All cell states of the growth as one stage: the seed, then each of `num_steps` steps (Fig. 17)."""
        cells = self.seed(z)
        return [jnp.concatenate([cells[None], self.steps(cells, self.num_steps, keep=True)])]

    def parameters(self, cells: Float[Array, "*batch h w cell"]) -> Float[Array, "*batch h w parameters"]:
        """The likelihood's parameters that cells show, at any step."""
        return cells[..., : self.likelihood.num_parameters(self.image_channels)]

    def sample(self, num_samples: int, *, key: PRNGKeyArray) -> Float[Array, "n h w parameters"]:
        """The likelihood's parameters for z ~ p(z) = N(0, I)."""
        return self.decode(jr.normal(key, (num_samples, self.latent_size)))

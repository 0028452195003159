"""The contract of the models: what losses, bounds, evaluation and pictures ask of one. Each is a final class of it."""

import abc
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from vnca_jax.compute import Compute
from vnca_jax.likelihoods import Likelihood


@runtime_checkable
class Sizes(Protocol):
    """What a model is built from: a frozen dataclass, which is also the flags and the header of the model's file."""

    @property
    def image_size(self) -> int: ...
    @property
    def image_channels(self) -> int: ...
    @property
    def latent_size(self) -> int: ...
    @property
    def encoder_width(self) -> int: ...
    @property
    def encoder_depth(self) -> int: ...


class VAE(eqx.Module):
    """A variational autoencoder: q(z|x), p(x|z) and p(z) = N(0, I) (section 2).

    All methods take one example or any leading batch axes.
    """

    sizes: eqx.AbstractVar[Sizes]
    likelihood: eqx.AbstractVar[Likelihood]
    compute: eqx.AbstractVar[Compute]

    @abc.abstractmethod
    def encode(
        self, x: Float[Array, "*batch h w c"]
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """The mean and log-variance of q(z|x)."""

    @abc.abstractmethod
    def decode(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch h w outputs"]:
        """The decoder's outputs for p(x|z)."""

    def sample(self, num_samples: int, *, key: PRNGKeyArray) -> Float[Array, "n h w outputs"]:
        """The decoder's outputs for z ~ p(z)."""
        return self.decode(jr.normal(key, (num_samples, self.latent_size)))

    @property
    def image_size(self) -> int:
        """Pixels per side."""
        return self.sizes.image_size

    @property
    def image_channels(self) -> int:
        """Channels of a pixel."""
        return self.sizes.image_channels

    @property
    def latent_size(self) -> int:
        """Numbers in z."""
        return self.sizes.latent_size


class VNCA(VAE):
    """A VAE whose decoder is a cellular automaton: cells grow from a seed and show an image at any step."""

    @abc.abstractmethod
    def seed(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch h w cell"]:
        """The first cells."""

    @abc.abstractmethod
    def grow(self, z: Float[Array, "*batch latent"]) -> list[Float[Array, "steps *batch h w cell"]]:
        """All cell states of the growth, one array per stage: its first cells, then those after each step."""

    @abc.abstractmethod
    def outputs(self, cells: Float[Array, "*batch h w cell"]) -> Float[Array, "*batch h w outputs"]:
        """The decoder's outputs that cells show, at any step."""

"""What every likelihood offers, and which one a model has."""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float, PRNGKeyArray, Real

from vnca_jax.likelihoods.bernoulli import Bernoulli
from vnca_jax.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture


@runtime_checkable
class Likelihood(Protocol):
    """p(x|z), from the decoder's outputs, of an image x with values in [0, 1], whatever the dataset's levels."""

    def num_outputs(self, image_channels: int) -> int: ...

    def from_levels(self, levels: Real[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]: ...

    def log_prob(
        self, outputs: Float[Array, "*batch h w outputs"], x: Float[Array, "*batch h w c"], /
    ) -> Float[Array, "*batch"]: ...

    def sample(
        self, outputs: Float[Array, "*batch h w outputs"], /, *, key: PRNGKeyArray
    ) -> Float[Array, "*batch h w c"]: ...

    def pixel_error(
        self, outputs: Float[Array, "*batch h w outputs"], x: Float[Array, "*batch h w c"], /
    ) -> Float[Array, "*batch"]: ...

    def mean(self, outputs: Float[Array, "*batch h w outputs"], /) -> Float[Array, "*batch h w c"]: ...


def make_likelihood(num_mixtures: int) -> Likelihood:
    """Bernoulli for `num_mixtures` 0, else a mixture of so many discretized logistics (section 2)."""
    return DiscretizedLogisticMixture(num_mixtures) if num_mixtures else Bernoulli()

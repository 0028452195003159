"""What every likelihood offers, and which one a model has."""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float, PRNGKeyArray, Real

from vnca_jax.likelihoods.bernoulli import Bernoulli
from vnca_jax.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture


@runtime_checkable
class Likelihood(Protocol):
    """p(x | parameters) of an image x, whose values are in [0, 1] whatever the levels of the dataset are."""

    def num_parameters(self, image_channels: int) -> int: ...

    def from_levels(self, levels: Real[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]: ...

    def log_prob(
        self, parameters: Float[Array, "*batch h w parameters"], x: Float[Array, "*batch h w c"], /
    ) -> Float[Array, "*batch"]: ...

    def sample(
        self, parameters: Float[Array, "*batch h w parameters"], /, *, key: PRNGKeyArray
    ) -> Float[Array, "*batch h w c"]: ...

    def pixel_error(
        self, parameters: Float[Array, "*batch h w parameters"], x: Float[Array, "*batch h w c"], /
    ) -> Float[Array, "*batch"]: ...

    def mean(self, parameters: Float[Array, "*batch h w parameters"], /) -> Float[Array, "*batch h w c"]: ...


def make_likelihood(num_mixtures: int) -> Likelihood:
    """Bernoulli for `num_mixtures` 0, else a mixture of so many discretized logistics (section 2)."""
    return DiscretizedLogisticMixture(num_mixtures) if num_mixtures else Bernoulli()

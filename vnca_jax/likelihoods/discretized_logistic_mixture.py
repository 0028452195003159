"""The likelihood of colour images."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, PRNGKeyArray, Real

from vnca_jax.errors import InputError

MIDDLE = 127.5  # of the levels 0 to 255
LOWEST_LOG_SCALE = -7.0
LATTICE = (1, 221, 377)  # generator of the points that `mean` averages over
LATTICE_SIZE = 512


class Mixture(NamedTuple):
    """What the outputs stand for; means and scales in levels, the means counted from the middle one."""

    log_weight: Float[Array, "*batch h w l"]
    mean: Float[Array, "*batch h w l 3"]
    log_scale: Float[Array, "*batch h w l 3"]
    coefficients: Float[Array, "*batch h w l 3"]


class DiscretizedLogisticMixture(eqx.Module):
    """Independent pixels of three colours in 256 levels, each from a mixture of L components (Salimans et al., 2017).

    With v = 2x - 1, a component's colour is red ~ m_r, green ~ m_g + a red, blue ~ m_b + b red + c green, each plus
    logistic noise and rounded to the nearest of the 256 levels, those beyond the ends to the ends. A pixel's 10 L
    outputs are L logits of weights, then for each component the means m_r, m_g, m_b, the log-scales, clipped below
    at -7, and a, b, c through tanh. Images x have the values level / 255.
    """

    num_components: int = eqx.field(static=True)

    def __check_init__(self):
        if self.num_components < 1:
            raise InputError(f"num_components is {self.num_components}, but must be at least 1.")

    def num_outputs(self, image_channels: int) -> int:
        """How many channels of a cell the likelihood reads, 10 L; raises InputError unless images have 3 channels."""
        if image_channels != 3:
            raise InputError(
                f"`image_channels` is {image_channels}, but a mixture of logistics has 3 colours: give "
                "`image_channels` 3, or `num_mixtures` 0 for binary images."
            )
        return 10 * self.num_components

    def from_levels(self, levels: Real[Array, "*batch h w 3"]) -> Float[Array, "*batch h w 3"]:
        """Images x in [0, 1] from a dataset's levels 0 to 255."""
        return levels.astype(jnp.float32) / 255

    def log_prob(
        self, outputs: Float[Array, "*batch h w outputs"], x: Float[Array, "*batch h w 3"]
    ) -> Float[Array, "*batch"]:
        """log p(x) = sum over pixels of log sum_l weight_l p_l(red) p_l(green | red) p_l(blue | red, green), in nats.

        The 256 probabilities of a level sum to one, and at any finite outputs value and gradient are finite.
        """
        mixture = self._mixture(outputs)
        value = (jnp.round(255 * x) - MIDDLE)[..., None, :]
        red, green = value[..., 0], value[..., 1]
        a, b, c = (mixture.coefficients[..., i] for i in range(3))
        shift = jnp.stack([jnp.zeros_like(a), a * red, b * red + c * green], axis=-1)
        log_levels = _log_level(value, mixture.mean + shift, mixture.log_scale)
        return jax.nn.logsumexp(mixture.log_weight + log_levels.sum(axis=-1), axis=-1).sum(axis=(-2, -1))

    def sample(self, outputs: Float[Array, "*batch h w outputs"], *, key: PRNGKeyArray) -> Float[Array, "*batch h w 3"]:
        """x ~ p(x), each value level / 255."""
        component_key, noise_key = jr.split(key)
        mixture = self._mixture(outputs)
        component = jr.categorical(component_key, mixture.log_weight)[..., None, None]
        mean, log_scale, coefficients = (
            jnp.take_along_axis(array, component, axis=-2)[..., 0, :]
            for array in (mixture.mean, mixture.log_scale, mixture.coefficients)
        )
        return _from_middle(_draw(mean, log_scale, coefficients, jr.logistic(noise_key, mean.shape)))

    def mean(self, outputs: Float[Array, "*batch h w outputs"]) -> Float[Array, "*batch h w 3"]:
        """E[x] to about half a level: the weighted mean over the components of 512 evenly spread draws from each.

        Green and blue depend on a red and green that were rounded and cut off, so the exact mean of blue is a sum over
        256 x 256 colours per pixel. Here the draws' noise is the same for all pixels: the logistic's quantiles at a
        lattice in (0, 1)^3 that is its own mirror image, so that without cut-off all errors cancel but the rounding's.
        """
        mixture = self._mixture(outputs)

        def add_draw(total, noise):
            return total + _draw(mixture.mean, mixture.log_scale, mixture.coefficients, noise), None

        zeros = jnp.zeros_like(mixture.mean)
        total, _ = jax.lax.scan(add_draw, zeros, jnp.asarray(_lattice_noise(), zeros.dtype), unroll=8)
        mean = (jnp.exp(mixture.log_weight)[..., None] * total / LATTICE_SIZE).sum(axis=-2)
        return jnp.clip(_from_middle(mean), 0, 1)  # the weights add up to one but for rounding

    def pixel_error(
        self, outputs: Float[Array, "*batch h w outputs"], x: Float[Array, "*batch h w 3"]
    ) -> Float[Array, "*batch"]:
        """The mean of |E[x] - x|, where E[x] is that of the logistics before they are rounded and cut off, cut off."""
        mixture = self._mixture(outputs)
        a, b, c = (mixture.coefficients[..., i] for i in range(3))
        red = mixture.mean[..., 0]
        green = mixture.mean[..., 1] + a * red
        blue = mixture.mean[..., 2] + b * red + c * green
        colours = jnp.stack([red, green, blue], axis=-1)
        expected = (jnp.exp(mixture.log_weight)[..., None] * colours).sum(axis=-2)
        return jnp.abs(jnp.clip(_from_middle(expected), 0, 1) - x).mean(axis=(-3, -2, -1))

    def _mixture(self, outputs):
        logits, rest = jnp.split(outputs, [self.num_components], axis=-1)
        mean, log_scale, coefficients = rearrange(
            rest, "... (l kind colour) -> kind ... l colour", l=self.num_components, kind=3, colour=3
        )
        log_scale = jnp.maximum(log_scale, LOWEST_LOG_SCALE) + math.log(MIDDLE)
        return Mixture(jax.nn.log_softmax(logits), MIDDLE * mean, log_scale, jnp.tanh(coefficients))


def _log_level(value, mean, log_scale):
    """log P(value) = log(sigmoid(upper) - sigmoid(lower)), upper = (value + 1/2 - mean) / scale, lower likewise.

    The difference is sigmoid(upper) sigmoid(-lower) (1 - exp(lower - upper)), whose last factor depends on the scale
    alone. The highest level has no upper end and the lowest no lower one, so that a factor of each becomes one.
    """
    width = jnp.exp(-log_scale)  # of a level, in scales: upper - lower
    upper = (value - mean + 0.5) * width
    lower = (value - mean - 0.5) * width
    has_upper, has_lower = value < MIDDLE, value > -MIDDLE
    log_upper = jnp.where(has_upper, jax.nn.log_sigmoid(upper), 0)
    log_lower = jnp.where(has_lower, jax.nn.log_sigmoid(-lower), 0)
    return log_upper + log_lower + jnp.where(has_upper & has_lower, _log_one_minus_exp(-log_scale), 0)


def _log_one_minus_exp(log_width):
    """log(1 - exp(-w)), w = exp(log_width), which for a small w, even one that is zero in float32, is log w - w/2."""
    width = jnp.exp(log_width)
    is_small = log_width < -7
    return jnp.where(is_small, log_width - width / 2, jnp.log(-jnp.expm1(-jnp.where(is_small, 1, width))))


def _draw(mean, log_scale, coefficients, noise):
    """The colours, counted from the middle level, that standard logistic `noise` gives; all arrays `(..., 3)`."""
    scale = jnp.exp(jnp.minimum(log_scale, 80))  # beyond which float32 has no scale, and all draws are at the ends
    a, b, c = (coefficients[..., i] for i in range(3))

    def rounded(mean, i):
        return jnp.clip(jnp.round(mean + scale[..., i] * noise[..., i] + MIDDLE), 0, 255) - MIDDLE

    red = rounded(mean[..., 0], 0)
    green = rounded(mean[..., 1] + a * red, 1)
    blue = rounded(mean[..., 2] + b * red + c * green, 2)
    return jnp.stack([red, green, blue], axis=-1)


def _lattice_noise():
    """The logistic's quantiles at ((i + 1/2) generator / size mod 1), `(size, 3)`."""
    u = np.outer(np.arange(LATTICE_SIZE) + 0.5, LATTICE) / LATTICE_SIZE % 1
    return np.log(u) - np.log1p(-u)


def _from_middle(value):
    return (value + MIDDLE) / 255

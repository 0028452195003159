"""The mean of a mixture of logistics where rounding could take it out of [0, 1]."""

import jax
import jax.numpy as jnp
import numpy as np

from vnca_jax.likelihoods import DiscretizedLogisticMixture


def test_the_mean_is_never_above_one():
    """Of white pixels from four components, whose weights add up to more than one by rounding at some of them."""
    parameters = np.zeros((1000, 40), np.float32)
    parameters[:, :4] = np.random.default_rng(4).normal(size=(1000, 4))
    components = parameters[:, 4:].reshape(1000, 4, 3, 3)  # of which each has means, log-scales and coefficients
    components[:, :, 0], components[:, :, 1] = 2, -7
    weights = np.asarray(jnp.exp(jax.nn.log_softmax(jnp.asarray(parameters[:, :4])))).sum(axis=-1)
    assert weights.max() > 1
    found = jax.jit(DiscretizedLogisticMixture(4).mean)(parameters[:, None, None])
    assert found.max() == 1 and found.min() > 1 - 1e-6

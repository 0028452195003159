"""Likelihoods p(x | cells) from the first channels of the cells: log_prob, sample and mean. Knows no model."""

from vnca_jax.likelihoods.bernoulli import Bernoulli
from vnca_jax.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from vnca_jax.likelihoods.likelihood import Likelihood, make_likelihood

__all__ = ["Bernoulli", "DiscretizedLogisticMixture", "Likelihood", "make_likelihood"]

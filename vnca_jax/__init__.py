"""Variational neural cellular automata in JAX: models, bounds, training and evaluation."""

__version__ = "0.1.0"

"""Variational neural cellular automata in JAX: models, bounds and training; `vnca_jax.eval` is run as a module."""

import vnca_jax.backend  # noqa: F401  # isort: split  (first, because it says which variable JAX does not take)
from vnca_jax.bounds import bits_per_dimension, elbo, iwelbo, sample_noise
from vnca_jax.checkpoint import export_model, import_model, pretrained
from vnca_jax.data import load
from vnca_jax.errors import InputError
from vnca_jax.losses import elbo_loss, pool_loss
from vnca_jax.models import ConvVAE, DoublingVNCA, Encoder, NonDoublingVNCA
from vnca_jax.parallel import make_mesh
from vnca_jax.train import TrainConfig, fit

__all__ = [
    "ConvVAE",
    "DoublingVNCA",
    "Encoder",
    "InputError",
    "NonDoublingVNCA",
    "TrainConfig",
    "bits_per_dimension",
    "elbo",
    "elbo_loss",
    "export_model",
    "fit",
    "import_model",
    "iwelbo",
    "load",
    "make_mesh",
    "pool_loss",
    "pretrained",
    "sample_noise",
]

__version__ = "0.2.0"

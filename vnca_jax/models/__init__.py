"""The variational autoencoders of the paper: `encode`, `decode`, `sample`, and what grows in them.

All methods take one example or any leading batch axes, since every layer does: a batch is one large dot.
"""

from collections.abc import Callable

from vnca_jax.models.conv_vae import ConvSizes, ConvVAE
from vnca_jax.models.doubling import DoublingSizes, DoublingVNCA
from vnca_jax.models.encoder import Encoder
from vnca_jax.models.nondoubling import NonDoublingSizes, NonDoublingVNCA
from vnca_jax.models.sizes import hyperparameters, replace
from vnca_jax.models.vae import VAE, VNCA

__all__ = [
    "MODELS",
    "VAE",
    "VNCA",
    "ConvSizes",
    "ConvVAE",
    "DoublingSizes",
    "DoublingVNCA",
    "Encoder",
    "NonDoublingSizes",
    "NonDoublingVNCA",
    "hyperparameters",
    "replace",
]

MODELS: dict[str, Callable[..., VAE]] = {model.__name__: model for model in (DoublingVNCA, NonDoublingVNCA, ConvVAE)}

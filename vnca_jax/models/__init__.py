"""The variational autoencoders of the paper: `encode`, `decode`, `sample`, and what grows in them.

All methods take one example or any leading batch axes, since every layer does: a batch is one large dot.
"""

from vnca_jax.models.conv_vae import ConvVAE
from vnca_jax.models.doubling import DoublingVNCA
from vnca_jax.models.encoder import Encoder
from vnca_jax.models.nondoubling import NonDoublingVNCA
from vnca_jax.models.sizes import hyperparameters, replace

__all__ = ["MODELS", "ConvVAE", "DoublingVNCA", "Encoder", "NonDoublingVNCA", "hyperparameters", "replace"]

MODELS: dict[str, type] = {model.__name__: model for model in (DoublingVNCA, NonDoublingVNCA, ConvVAE)}

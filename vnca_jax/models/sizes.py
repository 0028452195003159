"""A model's sizes: read, changed and checked."""

import dataclasses
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.random as jr

from vnca_jax.compute import Compute
from vnca_jax.errors import InputError
from vnca_jax.likelihoods import make_likelihood
from vnca_jax.models.vae import VAE

T = TypeVar("T", bound=VAE)


def hyperparameters(model: VAE) -> dict[str, Any]:
    """The sizes of `model` by name, from which a file rebuilds it."""
    return dataclasses.asdict(model.sizes)  # pyright: ignore[reportArgumentType]


def replace(model: T, *, compute: Compute | None = None, **changes: Any) -> T:
    """`model` with the same parameters and other sizes, which must not change the parameters' shapes.

    It computes as `compute` says, or as before if that is None. Raises InputError for a size that the model refuses.
    """
    arguments = hyperparameters(model) | changes | {"compute": compute or model.compute}
    skeleton = eqx.filter_eval_shape(type(model), **arguments, key=jr.key(0))
    leaves = jax.tree.leaves(model)
    if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in jax.tree.leaves(skeleton)]:
        raise ValueError(f"{changes} would change the shapes of the model's parameters")
    return jax.tree.unflatten(jax.tree.structure(skeleton), leaves)


def check_sizes(sizes: Any, may_be_zero: tuple[str, ...] = ()) -> None:
    """Raises InputError unless all integers of `sizes` are at least one, those in `may_be_zero` zero."""
    for name, value in dataclasses.asdict(sizes).items():
        smallest = 0 if name in may_be_zero else 1
        if isinstance(value, int) and value < smallest:
            raise InputError(f"`{name}` is {value}, but must be at least {smallest}.")


def check_cell_size(cell_size: int, num_mixtures: int, image_channels: int) -> None:
    """Raises InputError unless a cell of `cell_size` numbers holds the decoder's outputs."""
    num_outputs = make_likelihood(num_mixtures).num_outputs(image_channels)
    if num_outputs > cell_size:
        raise InputError(
            f"`latent_size` is {cell_size}, but a cell must hold the decoder's {num_outputs} outputs per "
            "pixel; give a larger `latent_size`."
        )

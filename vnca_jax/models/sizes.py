"""What a model is built from: its static fields are its constructor's arguments, so that a file can rebuild it."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.random as jr

from vnca_jax.errors import InputError

T = TypeVar("T", bound=eqx.Module)


def hyperparameters(model: eqx.Module) -> dict[str, Any]:
    """The constructor's arguments of `model`, by name: its static fields."""
    return {
        name: getattr(model, name)
        for name, field in type(model).__dataclass_fields__.items()
        if field.metadata.get("static", False)
    }


def replace(model: T, **changes: Any) -> T:
    """`model` with the same parameters and other arguments, which must not change the parameters' shapes.

    Raises InputError for an argument that the constructor refuses.
    """
    arguments = hyperparameters(model) | changes
    skeleton = eqx.filter_eval_shape(type(model), **arguments, key=jr.key(0))
    leaves = jax.tree.leaves(model)
    if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in jax.tree.leaves(skeleton)]:
        raise ValueError(f"{changes} would change the shapes of the model's parameters")
    return jax.tree.unflatten(jax.tree.structure(skeleton), leaves)


def check_sizes(model: eqx.Module, may_be_zero: tuple[str, ...] = ()) -> None:
    """Raises InputError unless all integer arguments of `model` are at least one, those in `may_be_zero` zero."""
    for name, value in hyperparameters(model).items():
        smallest = 0 if name in may_be_zero else 1
        if isinstance(value, int) and value < smallest:
            raise InputError(f"{name} is {value}, but must be at least {smallest}.")


def check_cell_size(cell_size: int, num_parameters: int) -> None:
    """Raises InputError unless a cell of `cell_size` numbers holds the likelihood's `num_parameters`."""
    if num_parameters > cell_size:
        raise InputError(
            f"latent_size is {cell_size}, but a cell must hold the likelihood's {num_parameters} parameters a pixel; "
            "give a larger latent_size."
        )

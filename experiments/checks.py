"""What is wrong with sizes, said in flags and before any data are loaded."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax.random as jr

from vnca_jax.errors import InputError


@contextlib.contextmanager
def flag_named(model_config: Any, *fields: str) -> Iterator[None]:
    """Puts the first of these fields that `model_config` has, as a flag with its value, before an InputError."""
    try:
        yield
    except InputError as error:
        known = [name for name in fields if name in {field.name for field in dataclasses.fields(model_config)}]
        flag = f"--{known[0].replace('_', '-')} is {getattr(model_config, known[0])}: " if known else ""
        raise InputError(f"{flag}{error}") from error


def check_model(parts: tuple[Any, ...], build: Callable[[Any], Any]) -> None:
    """Raises InputError, with flags in place of the fields of `parts`, where `build(key)` refuses to build the model.

    Computes nothing.
    """
    try:
        eqx.filter_eval_shape(build, jr.key(0))
    except InputError as error:
        names = {field.name for part in parts for field in dataclasses.fields(part)}
        flags = {name: f"--{name.replace('_', '-')}" for name in names}
        raise InputError(re.sub(r"\w+", lambda word: flags.get(word[0], word[0]), str(error))) from error

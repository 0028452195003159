"""How many examples a device computes at once, and what it keeps of them for the gradient: counted in their shapes.

A CPU takes as many as fit its cache, or as many more as outweigh the weights, which are read again for each chunk, and
keeps everything. An accelerator is fast at large dots only, so it takes the whole batch: if not everything can be kept,
the cells after each step are, and the inside of a step is computed again for the gradient (a third more operations, a
tenth of the memory).
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr

from vnca_jax.models import VAE, replace

DECODE_BYTES = 1 << 31  # that a dot of an accelerator reads and writes, of latents that are decoded at once
OF_WEIGHTS = 2  # least ratio of the bytes of a chunk's examples to those of the weights, both in dots
DOTS = ("dot_general", "conv_general_dilated")


class Plan(NamedTuple):
    """How the gradient of a device's examples is computed: so many at a time, the inside of each step kept or not."""

    chunk_size: int
    recompute: bool


def plan(loss: Callable[..., Any], model: Any, examples: Any, *, chunk_size: int | None = None) -> Plan:
    """What suits the device that `model.compute` is for, of `loss(model, examples) -> value, terms` in chunks.

    A `chunk_size` that is given is taken. Chunks are made to divide the examples.
    """
    how, num_examples = model.compute, len(jax.tree.leaves(examples)[0])
    wanted, again = min(chunk_size or num_examples, num_examples), False
    if how.cache_bytes is not None:
        if chunk_size is None:
            wanted = min(wanted, at_once(loss, model, examples, how.cache_bytes))
            if wanted > 1:
                wanted = min(wanted, fitting(how.kept_bytes, kept_bytes(loss, model, examples)))
    elif how.kept_bytes is not None:
        room = fitting(how.kept_bytes, kept_bytes(loss, model, examples))
        if room < wanted:
            more = fitting(how.kept_bytes, kept_bytes(recomputing(loss), model, examples))
            again, room = room < more, max(room, more)
        wanted = wanted if chunk_size else min(wanted, room)
    while num_examples % wanted:
        wanted -= 1
    return Plan(wanted, again)


def recomputing(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The same loss of a model whose steps are computed again for the gradient."""

    def of_recomputing(model, *examples):
        return loss(replace(model, compute=dataclasses.replace(model.compute, recompute=True)), *examples)

    return of_recomputing


def fitting(available: int | None, bytes_each: int) -> int:
    """How many examples of `bytes_each` the `available` bytes have room for, at least one; None is no limit."""
    return max(1, available // max(1, bytes_each)) if available is not None else 1 << 30


def kept_bytes(loss: Callable[..., Any], model: Any, examples: Any) -> int:
    """Bytes that the gradient of `loss(model, examples) -> value, terms` by the model keeps for each example.

    They are the residuals of the vjp for two examples, less those for one: what does not depend on the examples, as the
    parameters, is no part of it. With steps that are computed again, the inside of one step comes on top.
    """

    def residuals(count):
        def vjp(model, examples):
            return jax.vjp(lambda model: loss(model, _some(examples, count)), model, has_aux=True)[1]

        return sum(_num_bytes(leaf) for leaf in jax.tree.leaves(jax.eval_shape(vjp, model, examples)))

    return residuals(2) - residuals(1)


def at_once(function: Callable[..., Any], model: Any, examples: Any, cache_bytes: int) -> int:
    """How many examples `function(model, examples)` should take at once where a cache has `cache_bytes`.

    The largest dot or convolution reads and writes no more than that, but for one example; what is computed between
    dots is fused with them. All dots together move OF_WEIGHTS times as many bytes of the examples as of the weights.
    """
    one, two = (_dots_of(function, model, examples, count) for count in (1, 2))
    each = [(times, after - before) for (times, before), (_, after) in zip(one, two, strict=True)]
    fixed = sum(times * num_bytes for times, num_bytes in one) - sum(times * num_bytes for times, num_bytes in each)
    largest, all_of_them = max((n for _, n in each), default=0), sum(times * n for times, n in each)
    return max(fitting(cache_bytes, largest), math.ceil(OF_WEIGHTS * fixed / max(1, all_of_them)))


def decodes_at_once(model: VAE) -> int:
    """How many latents suit the device that the model computes for: those that fit its cache, or DECODE_BYTES."""
    z = jax.ShapeDtypeStruct((1, model.latent_size), jnp.float32)
    fast = model.compute.decode_bytes or model.compute.cache_bytes
    return at_once(lambda model, z: model.decode(z), model, z, fast or DECODE_BYTES)


def _dots_of(function, model, examples, count):
    """The dots and convolutions for so many examples: how often each runs, and the bytes that go in and out."""
    made = jax.make_jaxpr(lambda model, examples: function(model, _some(examples, count)))(model, examples)
    return list(_dots(made.jaxpr, 1))


def _some(examples, count):
    """So many examples, all like the first."""
    return jax.tree.map(lambda x: jnp.take(x, jnp.zeros(count, jnp.int32), axis=0), examples)


def _num_bytes(array):
    return math.prod(array.shape) * array.dtype.itemsize


def _dots(jaxpr: Jaxpr, times: int) -> Iterator[tuple[int, int]]:
    for equation in jaxpr.eqns:
        if equation.primitive.name in DOTS:
            yield times, sum(_num_bytes(variable.aval) for variable in (*equation.invars, *equation.outvars))
        inside = times * equation.params["length"] if equation.primitive.name == "scan" else times
        for value in equation.params.values():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Jaxpr | ClosedJaxpr):
                    yield from _dots(part.jaxpr if isinstance(part, ClosedJaxpr) else part, inside)

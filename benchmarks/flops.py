"""How many operations a function computes: a count of the dots and convolutions in its jaxpr, nothing is run.

A dot of (m, k) and (k, n) is 2 m n k FLOPs. A convolution is two for every output, kernel tap and input channel: taps
in the padding count, those on the zeros that a transposed convolution puts between its inputs do not. So a layer that
keeps its grid, or divides it by its stride, counts as much as each of its two gradients. What a scan runs counts once a
step, what `shard_map` runs once a device, and of a `cond` the branch with most FLOPs. A while loop, whose number of
steps a jaxpr does not know, counts once, so that `make_steps` gives what one update computes. What is computed for
nothing counts, too. (XLA's own cost analysis is of no use here: it counts what a scan runs once.)
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax


class Operation(NamedTuple):
    """A dot or convolution: its FLOPs, numbers and bytes that it reads and writes, how often it runs one by one, and on
    how many devices at once.
    """

    flops: float
    numbers: float
    num_bytes: float
    times: int = 1
    devices: int = 1


def count_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """FLOPs of all dots and convolutions of `function(*arguments)`, of arrays or their shapes, on all devices."""
    return sum(op.times * op.devices * op.flops for op in find_operations(function, *arguments))


def count_traffic(function: Callable[..., Any], *arguments: Any) -> float:
    """Bytes that these dots and convolutions read and write, each operand and result once and at its own dtype.

    It is the memory traffic of a program in which nothing else touches memory and nothing stays in a cache.
    """
    return sum(op.times * op.devices * op.num_bytes for op in find_operations(function, *arguments))


def find_operations(function: Callable[..., Any], *arguments: Any) -> list[Operation]:
    """The dots and convolutions of `function(*arguments)` in their order."""
    return list(_operations(jax.make_jaxpr(function)(*arguments).jaxpr, 1, 1))


def _operations(jaxpr: Any, times: int, devices: int) -> Iterator[Operation]:
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name in _FLOPS:
            arrays = [variable.aval for variable in (*equation.invars, *equation.outvars)]
            num_bytes = sum(array.size * array.dtype.itemsize for array in arrays)
            yield Operation(_FLOPS[name](equation), sum(array.size for array in arrays), num_bytes, times, devices)
        elif name == "cond":
            branches = [list(_operations(branch.jaxpr, times, devices)) for branch in params["branches"]]
            yield from max(branches, key=lambda ops: sum(op.times * op.flops for op in ops))
        else:
            more_times = times * params["length"] if name == "scan" else times
            more_devices = devices * params["mesh"].size if name == "shard_map" else devices
            for inner in _inner_jaxprs(params):
                yield from _operations(inner, more_times, more_devices)


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    """The jaxprs among an equation's parameters, closed or not."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner


def _flops_of_dot(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    lhs, out = equation.invars[0].aval, equation.outvars[0].aval
    return 2.0 * out.size * math.prod(lhs.shape[axis] for axis in contracted)


def _flops_of_convolution(equation: Any) -> float:
    params, (kernel, out) = equation.params, (equation.invars[1].aval, equation.outvars[0].aval)
    numbers = params["dimension_numbers"]
    _, in_axis, *kernel_axes = numbers.rhs_spec
    batch_axis, channel_axis, *out_axes = numbers.out_spec
    taps = math.prod(
        _num_taps(out.shape[out_axis], kernel.shape[kernel_axis], *geometry)
        for out_axis, kernel_axis, *geometry in zip(
            out_axes,
            kernel_axes,
            params["window_strides"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            [low for low, _ in params["padding"]],
            strict=True,
        )
    )
    return 2.0 * taps * out.shape[batch_axis] * out.shape[channel_axis] * kernel.shape[in_axis]


def _num_taps(num_out: int, kernel_size: int, stride: int, spread: int, kernel_spread: int, padding: int) -> int:
    """Pairs of an output and a kernel tap along one axis that meet an input, or padding where an input would be."""
    return sum(
        (i * stride + tap * kernel_spread - padding) % spread == 0 for i in range(num_out) for tap in range(kernel_size)
    )


_FLOPS = {"dot_general": _flops_of_dot, "conv_general_dilated": _flops_of_convolution}

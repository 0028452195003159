"""Counting dots and convolutions: closed forms of each, of what runs them many times, and of the doubling VNCA."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from benchmarks.flops import count_flops, count_traffic, find_operations
from benchmarks.step_counts import CASES, count_operations
from vnca_jax import conv
from vnca_jax.compute import Compute
from vnca_jax.models import DoublingVNCA

DOT = 2 * 3 * 5 * 7  # of (3, 5) and (5, 7)


def floats(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


A, B, SQUARE = floats(3, 5), floats(5, 7), floats(5, 5)


def convolution(x, kernel, stride=1, padding=1, **more):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=numbers, **more
    )


def with_gradients(f):
    return jax.value_and_grad(lambda *arguments: f(*arguments).sum(), argnums=(0, 1))


def test_dots():
    assert count_flops(jnp.matmul, A, B) == DOT
    assert count_flops(lambda a: a + a * a, A) == 0
    assert count_flops(partial(jnp.einsum, "bij,bkj->bik"), floats(4, 3, 5), floats(4, 7, 5)) == 4 * DOT
    assert count_flops(jax.vmap(jnp.matmul), floats(4, 3, 5), floats(4, 5, 7)) == 4 * DOT
    assert count_flops(with_gradients(jnp.matmul), A, B) == 3 * DOT
    assert count_flops(jnp.matmul, jnp.ones((3, 5)), jnp.ones((5, 7))) == DOT


def test_xla_counts_the_same_where_nothing_is_padded():
    """An independent count, of a dot and of a strided convolution without padding."""
    for function, arguments in (
        (jnp.matmul, (A, B)),
        (partial(convolution, stride=2, padding=0), (floats(2, 11, 9, 3), floats(5, 3, 3, 4))),
    ):
        xla = jax.jit(function).lower(*arguments).cost_analysis()
        assert isinstance(xla, dict)
        assert count_flops(function, *arguments) == xla["flops"]


@pytest.mark.parametrize(
    ("x", "kernel", "sizes", "expected"),
    [
        (floats(2, 8, 6, 3), floats(3, 3, 3, 4), {}, 2 * (2 * 8 * 6 * 4) * 9 * 3),
        (floats(2, 8, 6, 3), floats(5, 5, 3, 4), {"stride": 2, "padding": 2}, 2 * (2 * 4 * 3 * 4) * 25 * 3),
        (floats(1, 8, 8, 6), floats(3, 3, 2, 9), {"feature_group_count": 3}, 2 * (8 * 8 * 9) * 9 * 2),
        (floats(1, 8, 8, 6), floats(3, 3, 6, 9), {"rhs_dilation": (2, 2), "padding": 2}, 2 * (8 * 8 * 9) * 9 * 6),
    ],
)
def test_convolutions(x, kernel, sizes, expected):
    function = partial(convolution, **sizes)
    assert count_flops(function, x, kernel) == expected
    assert count_flops(with_gradients(function), x, kernel) == 3 * expected


def test_inserted_zeros_do_not_count():
    """Doubled with a kernel of 4, each output meets 2 x 2 inputs: padded to 9 cells a side, 6 outputs of 4 taps."""
    function = partial(convolution, stride=1, padding=2, lhs_dilation=(2, 2))
    out = jax.eval_shape(function, floats(1, 3, 3, 5), floats(4, 4, 5, 7))
    assert out.shape == (1, 6, 6, 7)
    assert count_flops(function, floats(1, 3, 3, 5), floats(4, 4, 5, 7)) == 2 * (6 * 6 * 7) * (2 * 2) * 5


def test_what_runs_many_times():
    def step(cells, _):
        return cells @ jnp.ones((5, 5)), None

    one = 2 * 3 * 5 * 5

    def scan(cells, length=6):
        return jax.lax.scan(step, cells, None, length=length)[0]

    def nested(cells):
        return jax.lax.scan(lambda c, _: (scan(c, 4), None), cells, None, length=3)[0]

    def some_steps(cells):
        def body(cells, i):
            return jax.lax.cond(i < 4, lambda c: step(c, None)[0], lambda c: c, cells), None

        return jax.lax.scan(body, cells, jnp.arange(9))[0]

    assert count_flops(scan, A) == 6 * one
    assert [(op.flops, op.times) for op in find_operations(nested, A)] == [(one, 12)]
    assert count_flops(some_steps, A) == 9 * one  # the branch with most: the count of 9 steps
    assert count_flops(lambda c: jax.lax.fori_loop(0, 5, lambda i, c: step(c, i)[0], c), A) == 5 * one
    unknown = jax.jit(lambda c, n: jax.lax.fori_loop(0, n, lambda i, c: step(c, i)[0], c))
    assert count_flops(unknown, A, 5) == one
    assert count_flops(jax.jit(lambda c: jax.jit(scan)(scan(c))), A) == 12 * one


def test_what_is_computed_again_and_by_hand():
    def f(a, w):
        return jnp.sin(jnp.sin(a @ w) @ w).sum()

    one = 2 * 3 * 5 * 5
    assert count_flops(jax.grad(f, argnums=(0, 1)), A, SQUARE) == 6 * one
    assert count_flops(jax.grad(jax.checkpoint(f), argnums=(0, 1)), A, SQUARE) == 8 * one
    x, kernel = floats(1, 4, 4, 4), floats(3, 3, 4, 2)
    loss = lambda w, x: conv.convolve(x, w, 1, 1, "gather").sum()  # noqa: E731 (a custom VJP of dots)
    count = count_flops(jax.value_and_grad(loss), kernel, x)
    assert count == 2 * (2 * 16 * 36 * 2) + 2 * 16 * 18 * 4  # y, dw, and dx, which nobody asked for


def test_devices():
    mesh, sharded = AbstractMesh((4,), ("devices",), axis_types=(AxisType.Auto,)), PartitionSpec("devices")
    mapped = jax.shard_map(jnp.matmul, mesh=mesh, in_specs=(sharded, PartitionSpec()), out_specs=sharded)
    assert count_flops(mapped, floats(12, 5), B) == 4 * DOT
    assert [(op.flops, op.devices) for op in find_operations(mapped, floats(12, 5), B)] == [(DOT, 4)]


def test_traffic():
    numbers = 3 * 5 + 5 * 7 + 3 * 7
    assert count_traffic(jnp.matmul, A, B) == 4 * numbers
    half = floats(3, 5, dtype=jnp.bfloat16), floats(5, 7, dtype=jnp.bfloat16)
    assert count_traffic(jnp.matmul, *half) == 2 * numbers
    accumulated = partial(jnp.matmul, preferred_element_type=jnp.float32)
    assert count_traffic(accumulated, *half) == 2 * (3 * 5 + 5 * 7) + 4 * 3 * 7
    assert count_traffic(convolution, floats(2, 8, 6, 3), floats(3, 3, 3, 4)) == 4 * (2 * 48 * 3 + 9 * 12 + 2 * 48 * 4)


UPDATES = 8 * (4 + 16 + 64 + 256 + 1024)  # of cells, in a growth to 32x32
DECODER = 2 * UPDATES * (9 * 256 * 256 + 9 * 256 * 256)  # a 3x3 convolution and nine 1x1, all of 256 channels
FIRST = 2 * 32 * 32 * 25 * 32
ENCODER = FIRST + 2 * sum(25 * side**2 * width * 2 * width for side, width in ((16, 32), (8, 64), (4, 128), (2, 256)))
ENCODER += 2 * (2 * 2 * 512) * 512


def test_growth():
    model = eqx.filter_eval_shape(DoublingVNCA, compute=Compute("float32", "lax"), key=jr.key(0))
    assert count_flops(DoublingVNCA.decode, model, floats(3, 256)) == 3 * DECODER


def test_training_step():
    """Forward, and back to the weights and to the inputs, of which the images need no gradient: 2.5 TFLOP."""
    operations = count_operations(CASES[0], 32)
    flops = sum(op.times * op.flops for op in operations)
    assert flops == 32 * (3 * DECODER + 3 * ENCODER - FIRST)
    assert flops == pytest.approx(2.5e12, rel=0.01)
    assert sum(op.times for op in operations) == 3 * (40 * 10) + 3 * 6 - 1

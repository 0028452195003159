"""Each formulation of a convolution against loops over cells in float64; ELU and the dense layer by their formulas."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from close import assert_close, in_one_program

from vnca_jax import conv
from vnca_jax.compute import FORMULATIONS

TOLERANCE = 2e-6  # of an array's largest value

# name: batch axes, height, width, kernel, stride, padding
CASES = {
    "even grid, 3x3": ((2, 1), 16, 18, 3, 1, 1),
    "odd grid, 3x3": ((2,), 17, 16, 3, 1, 1),
    "large grid, 3x3, padding 2": ((), 16, 16, 3, 1, 2),
    "small grid, 3x3": ((), 4, 6, 3, 1, 1),
    "same size, 5x5": ((3,), 6, 5, 5, 1, 2),
    "padding 4, 5x5": ((), 5, 4, 5, 1, 4),
    "stride 2, 5x5, even": ((2,), 8, 8, 5, 2, 2),
    "stride 2, 5x5, odd": ((1, 2), 7, 6, 5, 2, 2),
    "stride 2, 3x3": ((2,), 5, 6, 3, 2, 2),
    "stride 2, padding 4, 3x3": ((), 4, 3, 3, 2, 4),
}
LARGE = list(CASES)[:3]  # where `winograd` is at work or might be; on all others it is `gather`
C_IN, C_OUT = 4, 2


def hand_set(make, *arrays):
    """A layer with the given weight and bias."""
    weight, bias = (jnp.asarray(array, jnp.float32) for array in arrays)
    layer = eqx.filter_eval_shape(make, key=jr.key(0))
    assert (layer.weight.shape, layer.bias.shape) == (weight.shape, bias.shape)
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (weight, bias))


def make_conv(kernel, stride, padding):
    return lambda key: conv.Conv(C_IN, C_OUT, kernel, stride=stride, padding=padding, key=key)


def arrays(name):
    """Weight, bias, input and gradient of the output, normal numbers from a seed of their own."""
    batch, height, width, kernel, stride, padding = CASES[name]
    out = [(size + 2 * padding - kernel) // stride + 1 for size in (height, width)]
    shapes = ((kernel, kernel, C_IN, C_OUT), (C_OUT,), (*batch, height, width, C_IN), (*batch, *out, C_OUT))
    rng = np.random.default_rng([height, width, kernel])
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def convolved(weight, bias, x, dy, stride, padding):
    """The output and the gradients of sum(dy * output) by weight, bias and x, one output cell at a time in float64."""
    weight, bias, x, dy = (array.astype(np.float64) for array in (weight, bias, x, dy))
    kernel, (height, width), batch = len(weight), dy.shape[-3:-1], list(range(dy.ndim - 3))
    x = np.pad(x, [(0, 0)] * len(batch) + [(padding, padding)] * 2 + [(0, 0)])
    y, dx, dw = np.empty(dy.shape), np.zeros_like(x), np.zeros_like(weight)
    for i in range(height):
        for j in range(width):
            rows, columns = slice(i * stride, i * stride + kernel), slice(j * stride, j * stride + kernel)
            patch, dy_cell = x[..., rows, columns, :], dy[..., i, j, :]
            y[..., i, j, :] = np.tensordot(patch, weight, 3) + bias
            dx[..., rows, columns, :] += np.tensordot(dy_cell, weight, (-1, -1))
            dw += np.tensordot(patch, dy_cell, (batch, batch))
    inner = slice(padding, -padding)
    return y, dw, dy.sum(axis=tuple(range(dy.ndim - 1))), dx[..., inner, inner, :]


@pytest.fixture(scope="module", params=FORMULATIONS)
def found(request):
    """Output and gradients of each case, by name, as one program compiled in one formulation."""
    arguments = {}
    parts = {"winograd": LARGE, "shifted": CASES}
    for name in parts.get(request.param, set(CASES) - set(LARGE)):
        weight, bias, x, dy = arrays(name)
        arguments[name] = hand_set(make_conv(*CASES[name][3:]), weight, bias), jnp.asarray(x), jnp.asarray(dy)
    return in_one_program(arguments, request.param)


def test_value_and_gradients(found):
    for name, results in found.items():
        for actual, expected in zip(results, convolved(*arrays(name), *CASES[name][4:]), strict=True):
            assert_close(actual, expected, TOLERANCE)


@pytest.mark.parametrize("channels", [1, 3])
def test_from_few_channels(channels):
    """An image's neighbours are gathered, in place of those of its many outputs; with the gradients of both."""
    rng = np.random.default_rng(channels)
    shapes = ((5, 5, channels, 6), (6,), (2, 7, 6, channels), (2, 7, 6, 6))
    weight, bias, x, dy = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    layer = hand_set(lambda key: conv.Conv(channels, 6, 5, padding=2, key=key), weight, bias)
    results = in_one_program({"": (layer, jnp.asarray(x), jnp.asarray(dy))}, "gather")[""]
    for actual, expected in zip(results, convolved(weight, bias, x, dy, 1, 2), strict=True):
        assert_close(actual, expected, TOLERANCE)
    of_weight = jax.make_jaxpr(jax.grad(lambda w: (conv.convolve(jnp.asarray(x), w, 1, 2, "gather") * dy).sum()))(
        layer.weight
    )
    assert max(out.aval.size for equation in of_weight.eqns for out in equation.outvars) == 2 * 7 * 6 * 25 * channels


@pytest.mark.parametrize(
    ("name", "height", "multiplications", "num_convolutions"),
    [
        *[("winograd", 16, 4, 0), ("winograd", 17, 9, 0), ("winograd", 14, 9, 0)],
        *[("gather", 16, 9, 0), ("lax", 16, 9, 1), ("shifted", 16, 9, 0)],
    ],
)
def test_which_formulation_computes(name, height, multiplications, num_convolutions):
    """Winograd has 4 multiplications per cell and channel pair in place of 9; it wants a large even grid."""
    assert 14 * 16 < conv.WINOGRAD_MIN_CELLS <= 16 * 16
    layer = eqx.filter_eval_shape(lambda: conv.prepare(conv.Conv(64, 64, 3, padding=1, key=jr.key(0)), name))
    x = jax.ShapeDtypeStruct((height, 16, 64), jnp.float32)
    program = jax.jit(lambda layer, x: layer(x)).lower(layer, x)
    found = (program.cost_analysis() or {})["flops"] / (2 * height * 16 * 64 * 64)
    assert (
        multiplications * (1 - 1 / 24) ** 2 <= found < multiplications + 0.5
    )  # less at the border, more in transforms
    assert program.as_text().count("stablehlo.convolution") == num_convolutions


@pytest.mark.parametrize(
    ("grids", "side", "c_in", "stride", "num_convolutions"),
    [(7, 8, 4, 1, 0), (8, 8, 4, 1, 1), (7, 7, 4, 1, 1), (7, 8, 4, 2, 1), (8, 7, 3, 1, 0), (8, 7, 3, 2, 1)],
)
def test_where_grids_are_shifted(grids, side, c_in, stride, num_convolutions):
    """On fewer than 8 grids of 64 cells or more; from 1 or 3 channels the neighbours are gathered; with stride 1."""
    layer = eqx.filter_eval_shape(lambda: conv.Conv(c_in, 2, 3, stride=stride, padding=1, key=jr.key(0)))
    x = jax.ShapeDtypeStruct((grids, side, side, c_in), jnp.float32)
    program = jax.jit(lambda layer, x: layer(x, "shifted")).lower(layer, x).as_text()
    assert program.count("stablehlo.convolution") == num_convolutions


def test_elu_of_extremes():
    """Exactly x above zero, where it does not overflow, and its gradient exactly 1; -1 far below."""
    x = jnp.array([3e38, 1.1, 1e-30, -1e-30, -200.0])
    y, of = jax.vjp(conv.elu, x)
    assert y.tolist() == [*x[:4].tolist(), -1]
    assert of(jnp.ones(5))[0].tolist() == [1, 1, 1, 1, 0]


def test_prepared_value_and_gradient():
    """Of one example, against XLA's convolution; the gradient is that of the unprepared layer's own weight."""
    weight, bias, x, _ = arrays("even grid, 3x3")
    layer, x = hand_set(make_conv(3, 1, 1), weight, bias), jnp.asarray(x[1, 0]) / 4

    def loss(layer, apply):
        y = apply(layer)
        return jnp.sum(jnp.sin(y)), y

    def with_gradient(apply):
        return jax.jit(lambda layer: jax.grad(loss, has_aux=True)(layer, apply))(layer)

    gradient, y = with_gradient(lambda layer: conv.prepare(layer, "winograd")(x))
    lax_gradient, lax_y = with_gradient(lambda layer: layer(x, "lax"))
    assert_close(y, lax_y, TOLERANCE)
    assert_close(gradient.weight, lax_gradient.weight, TOLERANCE)
    assert_close(gradient.bias, lax_gradient.bias, TOLERANCE)


@pytest.mark.parametrize("name", FORMULATIONS)
def test_what_is_prepared(name):
    """The kernels of 3x3 convolutions in `winograd` and nothing else; the last formulation counts."""
    small = hand_set(make_conv(3, 1, 1), np.ones((3, 3, C_IN, C_OUT)), np.zeros(C_OUT))
    large = hand_set(make_conv(5, 1, 2), np.ones((5, 5, C_IN, C_OUT)), np.zeros(C_OUT))
    prepared: Any = conv.prepare([{"small": small}, large, small.bias], name)
    for other in FORMULATIONS:
        twice = conv.prepare(conv.prepare([{"small": small}, large, small.bias], other), name)
        assert jax.tree.structure(twice) == jax.tree.structure(prepared)
    found = prepared[0]["small"]
    assert prepared[1].layer is large and prepared[1].transformed is None and prepared[2] is small.bias
    assert (prepared[1].weight is large.weight, prepared[1].bias is large.bias) == (True, True)
    assert (found.layer is small, found.formulation) == (True, name)
    if name != "winograd":
        assert found.transformed is None
    else:  # G [1, 1, 1] = [1, 3/2, 1/2, 1]
        one_axis = np.array([1, 1.5, 0.5, 1])
        expected = np.broadcast_to(np.outer(one_axis, one_axis).reshape(16, 1, 1), (16, C_IN, C_OUT))
        np.testing.assert_array_equal(found.transformed.reshape(16, C_IN, C_OUT), expected)


def test_winograd_commutes_with_translation():
    """Cells that are zero near the border may be moved before or after; by odd numbers, across the 2x2 tiles."""
    layer = hand_set(make_conv(3, 1, 1), arrays("even grid, 3x3")[0], np.zeros(C_OUT))
    cells = np.zeros((2, 16, 16, C_IN), np.float32)
    cells[0, 4:9, 5:10] = np.random.default_rng(3).normal(size=(5, 5, C_IN))
    cells[1] = np.roll(cells[0], (3, -1), axis=(0, 1))
    still, moved = np.asarray(jax.jit(lambda x: layer(x, "winograd"))(cells))
    assert_close(moved, np.roll(still, (3, -1), axis=(0, 1)), TOLERANCE)
    assert np.count_nonzero(still.any(axis=-1)) == np.count_nonzero(moved.any(axis=-1)) == 7 * 7


def test_elu():
    """Alone, and as its gradient computes it, from tanh on a CPU."""
    x = np.array([-np.inf, -1e4, -100, -20, -1, -1e-3, -1e-30, -0.0, 0, 1e-30, 1e-3, 1, 100, 1e4])
    y, dy = jax.jit(lambda x: jax.vmap(jax.value_and_grad(lambda x: 3 * conv.elu(x)))(x))(x.astype(np.float32))
    for found in (y, jax.jit(lambda x: 3 * conv.elu(x))(x.astype(np.float32))):
        np.testing.assert_allclose(found, 3 * np.where(x > 0, x, np.expm1(np.minimum(x, 0))), rtol=3e-7, atol=0)
    np.testing.assert_allclose(dy, 3 * np.exp(np.minimum(x, 0)), rtol=0, atol=3e-7)


def test_elu_between_the_extremes():
    """Within 3.5e-7 of its own size at 100,000 places, against float64."""
    x = -np.logspace(-12, 2, 100_000).astype(np.float32)
    y = jax.jit(lambda x: jax.vjp(conv.elu, x)[0])(x)
    np.testing.assert_allclose(y, np.expm1(x.astype(np.float64)), rtol=3.5e-7, atol=0)


def test_dense():
    dense = hand_set(lambda key: conv.Dense(2, 3, key=key), [[1, 2, 3], [-4, 5, 0]], [10, 20, 30])
    assert dense(jnp.array([2.0, 1])).tolist() == [8, 29, 36]
    assert dense(jnp.array([[[0.0, 0], [1, -1]]])).tolist() == [[[10, 20, 30], [15, 17, 33]]]


def test_gradients_of_dense():
    """Of a vector and of grids, against sums over all cells in float64."""
    rng = np.random.default_rng(5)
    dense = hand_set(lambda key: conv.Dense(4, 3, key=key), rng.normal(size=(4, 3)), rng.normal(size=3))
    for batch in ((), (2, 5, 6)):
        x, dy = (rng.normal(size=(*batch, size)).astype(np.float32) for size in (4, 3))
        _, vjp = jax.vjp(lambda dense, x: dense(x), dense, jnp.asarray(x))
        of_dense, dx = vjp(jnp.asarray(dy))
        x, dy, weight = (np.asarray(array, np.float64) for array in (x, dy, dense.weight))
        assert_close(of_dense.weight, np.einsum("nc,nd->cd", x.reshape(-1, 4), dy.reshape(-1, 3)), TOLERANCE)
        assert_close(of_dense.bias, dy.reshape(-1, 3).sum(axis=0), TOLERANCE)
        assert_close(dx, np.einsum("...d,cd->...c", dy, weight), TOLERANCE)


def test_initial_weights():
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): within the limits, close to them, with mean 0 and variance limit^2 / 3."""

    @jax.jit
    def make(key):
        return conv.Conv(4, 256, 5, padding=2, key=key), conv.Dense(64, 256, key=key)

    for layer, fan_in in zip(make(jr.key(4, impl="rbg")), (100, 64), strict=True):
        for array in (layer.weight, layer.bias):
            scaled = np.asarray(array, np.float64) * np.sqrt(fan_in)
            assert 0.95 < np.abs(scaled).max() <= 1 + 1e-6
            assert abs(scaled.mean()) < 4 * np.sqrt(1 / 3 / array.size)
            assert abs((scaled**2).mean() - 1 / 3) < 4 * np.sqrt(4 / 45 / array.size)
        assert not np.isin(layer.bias, layer.weight).all()

"""The transposed convolution against its definition, a sum of scattered kernels, in float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from close import assert_close, in_one_program

from vnca_jax.compute import FORMULATIONS
from vnca_jax.conv_transpose import ConvTranspose

TOLERANCE = 2e-6  # of an array's largest value

# name: batch axes, height, width, kernel, stride, padding, and the height and width that come out
CASES = {
    "doubled": ((2,), 3, 5, 5, 2, 2, 6, 10),
    "doubled, large": ((1, 2), 16, 18, 5, 2, 2, 32, 36),
    "cropped": ((2, 1), 8, 7, 5, 1, 4, 4, 3),
    "cropped beyond the kernel": ((), 10, 9, 5, 1, 6, 2, 1),
    "same size": ((), 4, 3, 3, 1, 1, 4, 3),
    "tripled and one more cell": ((2,), 3, 4, 4, 3, 0, 12, 15),
}
LARGE = ["doubled, large"]  # where `winograd` is at work; on all others it is `gather`
C_IN, C_OUT = 3, 2


def make(kernel, stride, padding):
    return lambda key: ConvTranspose(C_IN, C_OUT, kernel, stride=stride, padding=padding, key=key)


def hand_set(make, weight, bias):
    """A layer with the given weight and bias."""
    layer = eqx.filter_eval_shape(make, key=jr.key(0))
    assert (layer.weight.shape, layer.bias.shape) == (weight.shape, bias.shape)
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (jnp.asarray(weight), jnp.asarray(bias)))


def arrays(name):
    """Weight, bias, input and gradient of the output, normal numbers from a seed of their own."""
    batch, height, width, kernel, *_, new_height, new_width = CASES[name]
    shapes = ((kernel, kernel, C_IN, C_OUT), (C_OUT,), (*batch, height, width, C_IN))
    rng = np.random.default_rng([height, width, kernel])
    return [rng.normal(size=shape).astype(np.float32) for shape in (*shapes, (*batch, new_height, new_width, C_OUT))]


def scattered(weight, bias, x, dy, stride, padding):
    """The output and the gradients of sum(dy * output) by weight, bias and x, one input cell at a time in float64.

    Each cell adds its kernel to a canvas, `stride` after the last; the output is the canvas from `padding` on.
    """
    weight, bias, x, dy = (array.astype(np.float64) for array in (weight, bias, x, dy))
    kernel, (height, width), batch = len(weight), x.shape[-3:-1], list(range(x.ndim - 3))
    high, wide = (max(stride * a + kernel, padding + b) for a, b in zip(x.shape[-3:-1], dy.shape[-3:-1], strict=True))
    canvas = np.zeros((*dy.shape[:-3], high, wide, dy.shape[-1]))
    window = (..., slice(padding, padding + dy.shape[-3]), slice(padding, padding + dy.shape[-2]), slice(None))
    d_canvas, dx, dw = np.zeros_like(canvas), np.empty(x.shape), np.zeros_like(weight)
    d_canvas[window] = dy
    for i in range(height):
        for j in range(width):
            rows, columns = slice(i * stride, i * stride + kernel), slice(j * stride, j * stride + kernel)
            canvas[..., rows, columns, :] += np.tensordot(x[..., i, j, :], weight, (-1, 2))
            d_patch = d_canvas[..., rows, columns, :]
            dx[..., i, j, :] = np.tensordot(d_patch, weight, ((-3, -2, -1), (0, 1, 3)))
            dw += np.moveaxis(np.tensordot(x[..., i, j, :], d_patch, (batch, batch)), 0, 2)
    return canvas[window] + bias, dw, dy.sum(axis=tuple(range(dy.ndim - 1))), dx


@pytest.fixture(scope="module", params=FORMULATIONS)
def found(request):
    """Output and gradients of each case, by name, as one program compiled in one formulation."""
    arguments = {}
    for name in LARGE if request.param == "winograd" else CASES:
        weight, bias, x, dy = arrays(name)
        arguments[name] = hand_set(make(*CASES[name][3:6]), weight, bias), jnp.asarray(x), jnp.asarray(dy)
    return in_one_program(arguments, request.param)


def test_value_and_gradients(found):
    for name, results in found.items():
        for actual, expected in zip(results, scattered(*arrays(name), *CASES[name][4:6]), strict=True):
            assert_close(actual, expected, TOLERANCE)


def test_one_cell_doubled():
    """The cells 2q + a that are left of the 5x5 kernel at 0 - padding are its rows and columns 2 and 3."""
    weight, bias = np.arange(25, dtype=np.float32).reshape(5, 5, 1, 1), np.full(1, 100, np.float32)
    layer = hand_set(lambda key: ConvTranspose(1, 1, 5, stride=2, padding=2, key=key), weight, bias)
    y = jax.jit(lambda x: layer(x))(jnp.ones((1, 1, 1)))
    np.testing.assert_array_equal(y[..., 0], [[112, 113], [117, 118]])


@pytest.mark.parametrize(("name", "num_convolutions"), [("winograd", 0), ("gather", 0), ("lax", 1)])
def test_one_convolution_without_holes(name, num_convolutions):
    """Of 3x3 taps to 4 times the channels; nothing is computed on cells that are zero between others."""
    layer = eqx.filter_eval_shape(make(5, 2, 2), key=jr.key(0))
    x = jax.ShapeDtypeStruct((16, 16, C_IN), jnp.float32)
    program = jax.jit(lambda layer, x: layer(x, name)).lower(layer, x)
    text = program.as_text()
    assert text.count("stablehlo.convolution") == num_convolutions
    assert "lhs_dilate = [2" not in text
    if name == "lax":
        assert f"tensor<3x3x{C_IN}x{4 * C_OUT}xf32>" in text
    else:  # 16 tiles' numbers of F(2x2, 3x3) side by side, or 9 neighbours'
        expected = f"tensor<1x16x16x{9 * C_IN}xf32>" if name == "gather" else f"tensor<4x4x{C_IN}x{4 * C_OUT}xf32>"
        assert expected in text


def test_initial_weights():
    """U(-1/sqrt(fan), 1/sqrt(fan)) with fan = c_out k^2, PyTorch's for this layer: within the limits, close to them."""
    layer = jax.jit(lambda key: ConvTranspose(64, 4, 5, stride=2, padding=2, key=key))(jr.key(4, impl="rbg"))
    scaled = np.asarray(layer.weight, np.float64) * np.sqrt(100)
    assert 0.95 < np.abs(scaled).max() <= 1 + 1e-6
    assert abs(scaled.mean()) < 4 * np.sqrt(1 / 3 / scaled.size)
    assert abs((scaled**2).mean() - 1 / 3) < 4 * np.sqrt(4 / 45 / scaled.size)
    assert np.abs(layer.bias).max() <= 0.1 and len(np.unique(layer.bias)) == 4


def test_padding_between_cells_is_refused():
    with pytest.raises(ValueError, match="padding 3 must be a multiple of stride 2"):
        ConvTranspose(1, 1, 5, stride=2, padding=3, key=jr.key(0))

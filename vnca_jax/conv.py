"""Convolutions over channel-last cells, each in the formulation of `vnca_jax.compute` that it is told.

Grids are `(*batch, h, w, c)`; a 1x1 convolution is a dot over the last axis.
"""

import abc
import math
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from vnca_jax import compute, gather, winograd
from vnca_jax.compute import Formulation

WINOGRAD_MIN_CELLS = 16 * 16
# Where a TPU's compiler counts fewer cycles for shifted grids, and for gathered neighbours, than for XLA's convolution.
SHIFTED_MAX_GRIDS, SHIFTED_MIN_CELLS = 7, 8 * 8
GATHERED_MAX_CHANNELS = 3  # on a CPU too an image's neighbours are fewer numbers than those of a layer's outputs

T = TypeVar("T")


class Dense(eqx.Module):
    """y = x W + b over the last axis: a linear layer, or a 1x1 convolution when x is a grid of cells."""

    weight: Float[Array, "c_in c_out"]
    bias: Float[Array, " c_out"]

    def __init__(self, in_size: int, out_size: int, *, key: PRNGKeyArray):
        self.weight, self.bias = uniform_init((in_size, out_size), in_size, key)

    def __call__(self, x: Float[Array, "*batch c_in"]) -> Float[Array, "*batch c_out"]:
        return add_bias(dot(x, self.weight), self.bias)


class Convolution(eqx.Module):
    """A layer that is computed in a formulation: the one it is called with, or that of JAX's default device."""

    weight: eqx.AbstractVar[Float[Array, "k k c_in c_out"]]
    bias: eqx.AbstractVar[Float[Array, " c_out"]]

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "*batch h w c_in"], formulation: Formulation | None = None
    ) -> Float[Array, "*batch h2 w2 c_out"]: ...


class Conv(Convolution):
    """A square convolution with zero padding: `(*batch, h, w, c_in)` to `(*batch, h', w', c_out)`,
    h' = floor((h + 2 padding - kernel) / stride) + 1.
    """

    weight: Float[Array, "k k c_in c_out"]
    bias: Float[Array, " c_out"]
    stride: int = eqx.field(static=True)
    padding: int = eqx.field(static=True)

    def __init__(
        self, in_size: int, out_size: int, kernel_size: int, *, stride: int = 1, padding: int, key: PRNGKeyArray
    ):
        shape = (kernel_size, kernel_size, in_size, out_size)
        self.weight, self.bias = uniform_init(shape, in_size * kernel_size**2, key)
        self.stride = stride
        self.padding = padding

    def __call__(
        self, x: Float[Array, "*batch h w c_in"], formulation: Formulation | None = None
    ) -> Float[Array, "*batch h2 w2 c_out"]:
        return add_bias(convolve(x, self.weight, self.stride, self.padding, formulation), self.bias)


def convolve(
    x: Float[Array, "*batch h w c_in"],
    weight: Float[Array, "k k c_in c_out"],
    stride: int,
    padding: int,
    formulation: Formulation | None = None,
) -> Float[Array, "*batch h2 w2 c_out"]:
    """`Conv` without its bias, in `formulation`; None is that of JAX's default device.

    A negative padding takes border cells away.
    """
    formulation = formulation or compute.choose().formulation
    flat = x.reshape(-1, *x.shape[-3:])
    if formulation == "lax":
        y = _lax_conv(flat, weight, stride, padding)
    elif formulation == "winograd" and _can_be_winograd(weight, stride, padding) and _suits_winograd(x):
        y = winograd.convolve(flat, winograd.transform_kernel(weight))
    elif formulation == "shifted":
        y = _for_tpu(flat, weight, stride, padding)
    elif _keeps_size(weight, stride, padding) and weight.shape[2] > GATHERED_MAX_CHANNELS:
        y = gather.convolve_same(flat, weight)
    else:
        y = gather.convolve(flat, weight, stride, padding)
    return y.reshape(*x.shape[:-3], *y.shape[1:])


class PreparedConvolution(eqx.Module):
    """A convolution with the formulation that it is computed in.

    A 3x3 `Conv` may have its transformed kernel U = G w G^T beside it, so that a loop over steps transforms it once.
    """

    layer: Convolution
    transformed: Float[Array, "4 4 c_in c_out"] | None
    formulation: Formulation = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*batch h w c_in"]) -> Float[Array, "*batch h2 w2 c_out"]:
        if self.transformed is None or not _suits_winograd(x):
            return self.layer(x, self.formulation)
        y = winograd.convolve(x.reshape(-1, *x.shape[-3:]), self.transformed)
        return add_bias(y.reshape(*x.shape[:-1], -1), self.layer.bias)

    @property
    def weight(self) -> Float[Array, "k k c_in c_out"]:
        """The layer's."""
        return self.layer.weight

    @property
    def bias(self) -> Float[Array, " c_out"]:
        """The layer's."""
        return self.layer.bias


def prepare(tree: T, formulation: Formulation) -> T:
    """`tree` with its convolutions in `formulation`, the kernels of 3x3 ones transformed where that wants it.

    Call it once before a loop that applies the layers of `tree` many times; gradients flow through.
    """

    def prepared(node):
        layer = node.layer if isinstance(node, PreparedConvolution) else node
        if not isinstance(layer, Convolution):
            return node
        transformed, wanted = None, formulation == "winograd"
        if wanted and isinstance(layer, Conv) and _can_be_winograd(layer.weight, layer.stride, layer.padding):
            transformed = winograd.transform_kernel(layer.weight)
        return PreparedConvolution(layer, transformed, formulation)

    return jax.tree.map(prepared, tree, is_leaf=lambda node: isinstance(node, Convolution | PreparedConvolution))


@jax.custom_vjp
def dot(x: Float[Array, "*batch c_in"], weight: Float[Array, "c_in c_out"]) -> Float[Array, "*batch c_out"]:
    """x W over the last axis.

    In its VJP dW is a dot of two matrices on CPU, the first transposed before: XLA's faster dots sum over the last axis
    of their first factor.
    """
    return x @ weight


def _dot_backward(residuals, dy):
    x, weight = residuals
    c_in, c_out = weight.shape

    def of_matrices(x, dy):
        return jax.lax.optimization_barrier(x.reshape(-1, c_in).T) @ dy.reshape(-1, c_out)

    def of_grids(x, dy):
        return jax.linear_transpose(lambda weight: x @ weight, weight)(dy)[0]

    return dy @ weight.T, jax.lax.platform_dependent(x, dy, cpu=of_matrices, default=of_grids)


dot.defvjp(lambda x, weight: (dot(x, weight), (x, weight)), _dot_backward)


@jax.custom_vjp
def elu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """ELU(x) = x if x > 0 else exp(x) - 1 (Clevert et al., 2015); keeps only its output for the gradient."""
    return jax.nn.relu(x) + jnp.expm1(jnp.minimum(x, 0))


def _elu_from_tanh(x):
    """1 - exp(x) = 2 t / (1 + t) with t = tanh(-x / 2): the relative error of `expm1` in half its time on CPU."""
    t = jnp.tanh(jax.nn.relu(-x) / 2)
    return jax.nn.relu(x) - 2 * t / (1 + t)


def _elu_forward(x):
    y = jax.lax.platform_dependent(x, cpu=_elu_from_tanh, default=elu)
    return y, y


def _elu_backward(y, dy):
    return (dy * (jnp.minimum(y, 0) + 1),)


elu.defvjp(_elu_forward, _elu_backward)


def uniform_init(
    shape: tuple[int, ...], fan_in: int, key: PRNGKeyArray
) -> tuple[Float[Array, "..."], Float[Array, " c_out"]]:
    """Weight of `shape` and bias from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of the paper's framework."""
    weight_key, bias_key = jr.split(key)
    limit = 1 / math.sqrt(fan_in)
    weight = jr.uniform(weight_key, shape, jnp.float32, minval=-limit, maxval=limit)
    bias = jr.uniform(bias_key, shape[-1:], jnp.float32, minval=-limit, maxval=limit)
    return weight, bias


@jax.custom_vjp
def add_bias(x: Float[Array, "*batch c"], bias: Float[Array, " c"]) -> Float[Array, "*batch c"]:
    """x + b over the last axis; the gradient of b is summed in float32, whatever the type of x."""
    return x + jnp.expand_dims(bias, tuple(range(x.ndim - 1)))


def _add_bias_backward(_, dy):
    return dy, dy.sum(axis=tuple(range(dy.ndim - 1)), dtype=jnp.float32).astype(dy.dtype)


add_bias.defvjp(lambda x, bias: (add_bias(x, bias), None), _add_bias_backward)


def _can_be_winograd(weight, stride, padding):
    return (len(weight), stride, padding) == (3, 1, 1)


def _suits_winograd(x):
    """Even sides, and enough cells that fewer multiplications outweigh the transforms (and their compilation)."""
    height, width = x.shape[-3:-1]
    return height % 2 == 0 and width % 2 == 0 and height * width >= WINOGRAD_MIN_CELLS


def _keeps_size(weight, stride, padding):
    return stride == 1 and 2 * padding == len(weight) - 1


def _lax_conv(x, weight, stride, padding):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), [(padding, padding)] * 2, dimension_numbers=numbers
    )


# --- shifted grids -------------------------------------------------------------------------------------------------


def _for_tpu(x, weight, stride, padding):
    if stride == 1 and weight.shape[2] <= GATHERED_MAX_CHANNELS:
        return gather.convolve(x, weight, stride, padding)
    num_grids, height, width, _ = x.shape
    few_large = num_grids <= SHIFTED_MAX_GRIDS and height * width >= SHIFTED_MIN_CELLS
    if few_large and _keeps_size(weight, stride, padding):
        return _shifted(x, weight)
    return _lax_conv(x, weight, stride, padding)


@jax.custom_vjp
def _shifted(x, weight):
    """y = sum over the kernel's places of (x, shifted) w[place], summed in float32; a stride-1 convolution that keeps
    the grid's size. In its VJP dx is the same with the kernel turned round, and dw XLA's own.
    """
    kernel, (height, width) = len(weight), x.shape[1:3]
    border = (kernel // 2, kernel // 2, 0)
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), border, border, (0, 0, 0)))
    dots = [
        jnp.dot(x[:, i : i + height, j : j + width], weight[i, j], preferred_element_type=jnp.float32)
        for i in range(kernel)
        for j in range(kernel)
    ]
    return sum(dots[1:], dots[0]).astype(weight.dtype)


def _shifted_forward(x, weight):
    return _shifted(x, weight), (x, weight)


def _shifted_backward(residuals, dy):
    x, weight = residuals
    _, of_weight = jax.vjp(lambda weight: _lax_conv(x, weight, 1, len(weight) // 2), weight)
    return _shifted(dy, weight[::-1, ::-1].swapaxes(2, 3)), *of_weight(dy)


_shifted.defvjp(_shifted_forward, _shifted_backward)

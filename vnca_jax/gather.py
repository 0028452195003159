"""Convolutions as one dot: the neighbours of each cell side by side, times the kernel as a matrix."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def _patches(x, kernel, stride, padding):
    """`(n, h, w, c)` to `(n, h', w', kernel * kernel * c)`: the neighbourhood of each output cell, column by column."""
    border = (padding, padding, 0)
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), border, border, (0, 0, 0)))
    for axis in (1, 2):  # rows, then columns of rows: 2 kernel slices in place of kernel^2
        last = x.shape[axis] - kernel
        shifted = [jax.lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(kernel)]
        x = jnp.concatenate(shifted, axis=-1)
    return x


def convolve(
    x: Float[Array, "n h w c_in"], weight: Float[Array, "k k c_in c_out"], stride: int, padding: int
) -> Float[Array, "n h2 w2 c_out"]:
    """A convolution of any stride; its gradient by the weight gathers the neighbours of x, as its value does."""
    c_out = weight.shape[-1]
    return _patches(x, len(weight), stride, padding) @ weight.swapaxes(0, 1).reshape(-1, c_out)


@jax.custom_vjp
def convolve_same(x: Float[Array, "n h w c_in"], weight: Float[Array, "k k c_in c_out"]) -> Float[Array, "n h w c_out"]:
    """A stride-1 convolution that keeps the grid's size; its VJP reuses one patch matrix of dy for dx and dw."""
    return convolve(x, weight, 1, len(weight) // 2)


def _forward(x, weight):
    return convolve_same(x, weight), (x, weight)


def _backward(residuals, dy):
    x, weight = residuals
    kernel, _, c_in, c_out = weight.shape
    patches = _patches(dy, kernel, 1, kernel // 2)
    dx = patches @ weight[::-1, ::-1].transpose(1, 0, 3, 2).reshape(-1, c_in)
    dw = x.reshape(-1, c_in).T @ patches.reshape(-1, kernel * kernel * c_out)
    return dx, dw.reshape(c_in, kernel, kernel, c_out)[:, ::-1, ::-1].transpose(2, 1, 0, 3)


convolve_same.defvjp(_forward, _backward)

"""The transposed convolution, computed as a convolution whose channels become pixels (Shi et al., 2016)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, PRNGKeyArray

from vnca_jax.compute import Formulation
from vnca_jax.conv import Convolution, add_bias, convolve, uniform_init


class ConvTranspose(Convolution):
    """A square transposed convolution: `(*batch, h, w, c_in)` to `(*batch, h', w', c_out)`.

    y[o] = b + sum over inputs i and taps t with stride i + t = o + padding of x[i] w[t], along each axis. With
    m = ceil(kernel / stride), h' = stride (h + 2 inner - m + 1), inner = m - 1 - padding / stride: twice h for a kernel
    of 5, stride 2 and padding 2.
    """

    weight: Float[Array, "k k c_in c_out"]
    bias: Float[Array, " c_out"]
    stride: int = eqx.field(static=True)
    padding: int = eqx.field(static=True)

    def __init__(
        self, in_size: int, out_size: int, kernel_size: int, *, stride: int = 1, padding: int, key: PRNGKeyArray
    ):
        if padding % stride:
            raise ValueError(f"padding {padding} must be a multiple of stride {stride}")
        shape = (kernel_size, kernel_size, in_size, out_size)
        self.weight, self.bias = uniform_init(shape, out_size * kernel_size**2, key)
        self.stride = stride
        self.padding = padding

    def __call__(
        self, x: Float[Array, "*batch h w c_in"], formulation: Formulation | None = None
    ) -> Float[Array, "*batch h2 w2 c_out"]:
        """Output stride q + a is sum_j x[q + padding / stride - j] w[stride j + a], j < m: a convolution for each a."""
        if formulation == "shifted":
            return add_bias(self._dilated(x), self.bias)
        s = self.stride
        missing = -len(self.weight) % s
        taps = jnp.pad(self.weight, ((0, missing), (0, missing), (0, 0), (0, 0)))
        taps = rearrange(taps, "(jy ay) (jx ax) c_in c_out -> jy jx c_in (ay ax c_out)", ay=s, ax=s)[::-1, ::-1]
        y = convolve(x, taps, 1, len(taps) - 1 - self.padding // s, formulation)
        y = rearrange(y, "... h w (ay ax c) -> ... (h ay) (w ax) c", ay=s, ax=s)
        return add_bias(y, self.bias)

    def _dilated(self, x):
        """XLA's convolution of x with stride - 1 zeros between its cells, so that no copy of the kernel is made."""
        flat, s, kernel = x.reshape(-1, *x.shape[-3:]), self.stride, len(self.weight)
        before, after = kernel - 1 - self.padding, -(-kernel // s) * s - 1 - self.padding
        y = jax.lax.conv_general_dilated(
            flat,
            self.weight[::-1, ::-1],
            (1, 1),
            [(before, after)] * 2,
            lhs_dilation=(s, s),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.reshape(*x.shape[:-3], *y.shape[1:])

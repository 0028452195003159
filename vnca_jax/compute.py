"""How a model computes, as one static argument, and the choice of it for a device.

A convolution is computed in one of four formulations. On CPU the gradient of XLA's own convolution is tens of times
slower than dots, so convolutions become dots there; on GPU XLA's convolution is the natural choice. A TPU's compiler
rearranges the few images that a core has of a batch around its convolution, but not around dots (docs/tpu.md).

- `winograd`: 3x3 convolutions on even grids as F(2x2, 3x3) of Lavin and Gray (2016), 16 dots with a VJP of
  their own, 4 multiplications per cell and channel pair in place of 9; everything else as `gather`.
- `gather`: the neighbours of each cell side by side, then one dot.
- `lax`: `jax.lax.conv_general_dilated`.
- `shifted`: on fewer than 8 grids, a convolution that keeps their size is the sum of one dot for each place of the
  kernel, with a VJP of its own; one from so few channels as pixels have as `gather`; everything else as `lax`.

bfloat16 has float32's range and 8 bits of mantissa, moves half of the bytes, and is what the matrix units of TPUs and
of GPUs since Ampere are fastest at. An automaton's dots and convolutions may compute in it. The parameters, the cells
that the steps add up, the gradients that they add up, bounds and the optimizer stay float32, so what is rounded is what
happens inside one step. A TPU rounds the factors of every dot to bfloat16 anyway, unless JAX's matmul precision says
otherwise, and adds in float32. A v5e does the rest of a step faster on float32 numbers, since it need not pack them and
has memory enough near its units, and computes a step again faster than it reads what was kept (docs/tpu.md).
"""

import dataclasses
from typing import Any, Literal, get_args

import jax

from vnca_jax import cpu_cache
from vnca_jax.errors import InputError

Formulation = Literal["winograd", "gather", "lax", "shifted"]
FORMULATIONS: tuple[Formulation, ...] = get_args(Formulation)
Dtype = Literal["float32", "bfloat16"]
ComputeDtype = Literal["auto", "float32", "bfloat16"]  # what a user says; auto is the one that the device is good at
CPU_KEPT_BYTES = 1 << 29  # of activations that a CPU keeps for the gradient
KEPT_SHARE = 0.5  # of an accelerator's memory, likewise; the rest is for parameters, data and temporary arrays
V5E_DECODE_BYTES = 1 << 26  # that a v5e's fast memory takes of what one dot reads and writes (docs/tpu.md)
UNKNOWN_BYTES = 8 << 30  # of memory, for an accelerator that does not tell
V5E = ("TPU v5 lite", "TPU v5e")  # as JAX calls a TPU whose compiler has been asked, and whose fast memory is large
AMPERE = (8, 0)  # the compute capability since which NVIDIA's GPUs have bfloat16


@dataclasses.dataclass(frozen=True)
class Compute:
    """What decides how a model's numbers are computed, but not what they stand for: no part of its file.

    With `recompute` an automaton's step keeps its first cells only, and the rest is computed again for the gradient.
    `kept_bytes` is what a device may keep for the gradient, None as much as there is. `cache_bytes` is what one
    operation should work on, where examples that fit a cache are faster than many at once, else None; `decode_bytes`
    is the same for latents that are decoded without a gradient alone.
    """

    dtype: Dtype
    formulation: Formulation
    recompute: bool = False
    kept_bytes: int | None = None
    cache_bytes: int | None = None
    decode_bytes: int | None = None

    def __post_init__(self):
        for what, value, known in (
            ("convolution formulation", self.formulation, FORMULATIONS),
            ("compute dtype", self.dtype, get_args(Dtype)),
        ):
            if value not in known:
                raise InputError(f"There is no {what} {value!r}; choose one of {', '.join(known)}.")


@dataclasses.dataclass(frozen=True)
class Device:
    """A device in words, which need not be at hand: its `platform` is cpu, gpu or tpu, its `kind` what JAX calls it.

    `capability` is the compute capability of an NVIDIA GPU; None is one that has bfloat16. `memory_bytes` is the memory
    of an accelerator and `cache_bytes` the second-level cache of a CPU; None is not known.
    """

    platform: str
    kind: str = ""
    capability: tuple[int, int] | None = None
    memory_bytes: int | None = None
    cache_bytes: int | None = None


def describe(device: Any) -> Device:
    """A device of JAX, at hand or of a topology that is compiled for, in words."""
    capability = None
    if device.platform == "gpu":
        major, _, minor = str(getattr(device, "compute_capability", "")).partition(".")
        if major.isdigit() and minor.isdigit():  # AMD's name their chip; those that JAX supports have bfloat16
            capability = int(major), int(minor)
    cache_bytes = cpu_cache.second_level_bytes() if device.platform == "cpu" else None
    return Device(device.platform, device.device_kind, capability, _memory_bytes(device), cache_bytes)


def _memory_bytes(device):
    try:
        return (device.memory_stats() or {}).get("bytes_limit")
    except Exception:  # of many types: a device of another process, or of a topology, has no memory at hand
        return None


def choose(device: Device | None = None, *, dtype: ComputeDtype = "auto") -> Compute:
    """What suits `device`, JAX's default one if it is None; in the type `dtype` unless that is auto."""
    if device is None:
        device = describe(jax.local_devices()[0])
    if dtype == "auto":
        dtype = "bfloat16" if _has_bfloat16(device) else "float32"
    if device.platform == "cpu":
        return Compute(dtype, "winograd", False, CPU_KEPT_BYTES, device.cache_bytes or cpu_cache.USUAL_BYTES)
    kept_bytes = int(KEPT_SHARE * (device.memory_bytes or UNKNOWN_BYTES))
    if _is_v5e(device):
        return Compute(dtype, "shifted", True, kept_bytes, decode_bytes=V5E_DECODE_BYTES)
    return Compute(dtype, "lax", False, kept_bytes)


def _has_bfloat16(device):
    """Whether its dots want numbers that are bfloat16 in memory too."""
    if device.platform == "gpu":
        return device.capability is None or device.capability >= AMPERE
    return device.platform == "tpu" and not _is_v5e(device)


def _is_v5e(device):
    return device.platform == "tpu" and device.kind in V5E

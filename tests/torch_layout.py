"""Parameters as PyTorch's models of benchmarks/ hold them, put into our models, and how close counts as equal."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import close
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from einops import rearrange

from vnca_jax import bounds
from vnca_jax.update_networks import SimpleUpdate

TOLERANCE = 4e-6  # of an array's largest value; up to 1e-6 was measured
UPDATE_TOLERANCE = 4e-7  # of a parameter of order 1, that an update moves by 1e-4


def stored(name: str) -> dict[str, np.ndarray]:
    """What the script reference/make_<name>.py, or its like, has stored."""
    with np.load(Path(__file__).parent / "reference" / f"{name}.npz") as file:
        return dict(file)


def sizes(reference: dict[str, np.ndarray]) -> dict[str, Any]:
    """The sizes of the model behind it."""
    return {name.removeprefix("size/"): int(value) for name, value in reference.items() if name.startswith("size/")}


def reference_of(name: str):
    """A fixture of what `stored(name)` gives."""
    return pytest.fixture(scope="module")(lambda: stored(name))


def model_of(kind: type, convert: Callable[..., Any], **changes: Any):
    """A fixture of the model of class `kind` with the parameters of the fixture `reference`."""

    def model(reference):
        skeleton = eqx.filter_eval_shape(kind, **sizes(reference), **changes, key=jr.key(0))
        return convert(skeleton, reference, "param")

    return pytest.fixture(scope="module")(model)


def ours(model: Any, reference: dict[str, np.ndarray]) -> dict[str, Any]:
    """Our side of the comparisons, as one compiled program: posterior, growth, terms of the bounds, gradient."""
    x, eps, z, iw_eps = (jnp.asarray(reference[name], jnp.float32) for name in ("x", "eps", "z", "iw_eps"))

    def loss(model):
        terms = bounds.elbo(model, x, eps)
        return -terms.elbo.mean(), terms

    @jax.jit
    def everything(model):
        (_, terms), gradient = jax.value_and_grad(loss, has_aux=True)(model)
        return {
            "posterior": model.encode(x),
            "growth": model.grow(z),
            "logits": model.decode(z)[..., 0],
            "terms": terms,
            "iwelbo": bounds.iwelbo(model, x, lambda k: iw_eps[k], num_samples=len(iw_eps)).iwelbo,
            "gradient": gradient,
        }

    return everything(model)


def assert_posterior_and_growth(found: dict[str, Any], growth: Any, reference: dict[str, np.ndarray]) -> None:
    """q(z|x), the cells of the growth after each step, and what the last of them show."""
    for array, name in zip(found["posterior"], ("mean", "logvar"), strict=True):
        assert_close(array, reference[name])
    expected = [reference[name] for name in sorted(reference) if name.startswith("growth/")]
    for cells, array in zip(growth, expected, strict=True):
        assert_close(cells, array)
    assert_close(found["logits"], reference["logits"])


def as_model(model, reference, prefix):
    """`model` with the arrays of `prefix` for parameters: the parameters themselves, gradients, updated parameters."""
    start = f"{prefix}/"
    names = [name.removesuffix(".weight") for name in reference if name.startswith(start) and name.endswith(".weight")]
    *convs, dense, perceive = names[: model.sizes.encoder_depth + 3]
    pointwise = names[model.sizes.encoder_depth + 3 :]
    weights = [as_conv(reference[f"{name}.weight"]) for name in convs]
    weights.append(as_dense_after_flatten(reference[f"{dense}.weight"], channels=weights[-1].shape[-1]))
    weights.append(as_conv(reference[f"{perceive}.weight"]))
    weights += [rearrange(reference[f"{name}.weight"], "c_out c_in 1 1 -> c_in c_out") for name in pointwise]
    biases = [reference[f"{name}.bias"] for name in names if f"{name}.bias" in reference]
    arrays = [jnp.asarray(array, jnp.float32) for array in weights + biases]
    assert [place.shape for place in places(model)] == [array.shape for array in arrays]
    return eqx.tree_at(places, model, arrays)


def places(model):
    """The weights, then the biases, of `model` in the order of PyTorch's layers."""
    layers = [*model.encoder.convs, model.encoder.dense, model.update.perceive]
    if isinstance(model.update, SimpleUpdate):
        last = [model.update.out]
    else:
        layers += [layer for block in model.update.blocks for layer in block] + [model.update.out]
        last = []
    return [layer.weight for layer in layers] + last + [layer.bias for layer in layers]


def as_conv(weight):
    return rearrange(weight, "c_out c_in kh kw -> kh kw c_in c_out")


def as_dense_after_flatten(weight, channels):
    """A linear layer on features that PyTorch flattens channel first and we flatten channel last."""
    side = int((weight.shape[1] // channels) ** 0.5)
    return rearrange(weight, "c_out (c h w) -> (h w c) c_out", h=side, w=side)


assert_close = functools.partial(close.assert_close, tolerance=TOLERANCE)

"""The convolutional baseline against an independent PyTorch model in float64, by conv_vae.npz.

As in tests/test_reference.py, parameters, images and noise are given to both sides, and float32 rounding is all that
may differ.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from einops import rearrange
from torch_layout import UPDATE_TOLERANCE, as_conv, as_dense_after_flatten, assert_close, model_of, reference_of

from vnca_jax import bounds, conv
from vnca_jax.compute import Compute
from vnca_jax.models import ConvVAE, replace
from vnca_jax.step import make_optimizer

LEARNING_RATE = 1e-4


reference = reference_of("conv_vae")


def as_model(model, reference, prefix):
    """`model` with the arrays of `prefix` for parameters: the parameters themselves, gradients, updated parameters."""
    names = [name.removesuffix(".weight") for name in reference if name.startswith(f"{prefix}/") and "weight" in name]
    weights, biases = ([reference[f"{name}.{kind}"] for name in names] for kind in ("weight", "bias"))
    to_latent = model.sizes.encoder_depth + 1  # the place of the encoder's dense layer; the decoder's comes next
    channels = len(biases[to_latent - 1])
    side = int((len(biases[to_latent + 1]) // len(weights[to_latent + 2])) ** 0.5)  # of the decoder's first grid
    ours = [as_conv(weight) for weight in weights[:to_latent]]
    ours.append(as_dense_after_flatten(weights[to_latent], channels))
    ours.append(rearrange(weights[to_latent + 1], "(c h w) latent -> latent (h w c)", h=side, w=side))
    ours += [rearrange(weight, "c_in c_out kh kw -> kh kw c_in c_out") for weight in weights[to_latent + 2 :]]
    biases[to_latent + 1] = rearrange(biases[to_latent + 1], "(c h w) -> (h w c)", h=side, w=side)
    arrays = [jnp.asarray(array, jnp.float32) for array in ours + biases]

    def places(model):
        layers = [*model.encoder.convs, model.encoder.dense, model.dense, *model.transposed]
        return [layer.weight for layer in layers] + [layer.bias for layer in layers]

    assert [place.shape for place in places(model)] == [array.shape for array in arrays]
    return eqx.tree_at(places, model, arrays)


model = model_of(ConvVAE, as_model)


@pytest.fixture(scope="module", params=["winograd", "lax"])  # of winograd's layers most are gather's
def found(request, model, reference):
    """Our side of two updates, by one program in one formulation: what each computes and the model after it."""
    x, eps, z, scales = (jnp.asarray(reference[name], jnp.float32) for name in ("x", "eps", "z", "loss_scales"))
    optimizer = make_optimizer(LEARNING_RATE)

    def advance(model, opt_state, scale):
        def loss(model):
            terms = bounds.elbo(model, x, eps)
            return -scale * terms.elbo.mean(), terms

        (_, terms), gradient = jax.value_and_grad(loss, has_aux=True)(model)
        with jax.numpy_dtype_promotion("standard"):  # Adam raises a float to its integer count
            updates, opt_state = optimizer.update(gradient, opt_state, model)
        results = {"posterior": model.encode(x), "logits": model.decode(z)[..., 0], "terms": terms}
        results |= {"gradient": gradient, "gradient_norm": optax.tree.norm(gradient)}
        return optax.apply_updates(model, updates), opt_state, results

    model = replace(model, compute=Compute("float32", request.param))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "WINOGRAD_MIN_CELLS", 1)  # the reference's grids are smaller than any that gains from it
        compiled, opt_state, found = jax.jit(advance), optimizer.init(model), []
        for scale in scales:
            model, opt_state, results = compiled(model, opt_state, scale)
            found.append(results | {"updated": model})
    return found


def test_forward(found, reference):
    mean, log_variance = found[0]["posterior"]
    assert_close(mean, reference["mean"])
    assert_close(log_variance, reference["logvar"])
    assert_close(found[0]["logits"], reference["logits"])


def test_elbo_and_its_terms(found, reference):
    terms = found[0]["terms"]
    assert_close(terms.elbo, reference["elbo"])
    assert_close(terms.log_px_given_z, reference["log_px"])
    assert_close(terms.kl, reference["kl"])


def test_gradient(found, model, reference):
    expected = as_model(model, reference, "grad")
    for gradient, array in zip(jax.tree.leaves(found[0]["gradient"]), jax.tree.leaves(expected), strict=True):
        assert_close(gradient, array)


def test_two_updates(found, model, reference):
    """The first gradient is clipped and the second is not: Adam's second step shows that, its first does not."""
    for i, prefix in enumerate(("updated", "updated_twice")):
        assert_close(found[i]["gradient_norm"], reference["gradient_norms"][i])
        expected = as_model(model, reference, prefix)
        for ours, array in zip(jax.tree.leaves(found[i]["updated"]), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, array, rtol=0, atol=UPDATE_TOLERANCE)

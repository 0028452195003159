"""A colour model of the kind of appendix A.1 against PyTorch in float64, by colour_conv_vae.npz."""

import jax
import jax.numpy as jnp
import pytest
from test_reference_baseline import as_model
from torch_layout import assert_close, model_of, reference_of

from vnca_jax import bounds
from vnca_jax.models import ConvVAE

pytestmark = pytest.mark.long


model = model_of(ConvVAE, as_model, dense_elu=True)
reference = reference_of("colour_conv_vae")


@pytest.fixture(scope="module")
def found(model, reference):
    eps, z = (jnp.asarray(reference[name], jnp.float32) for name in ("eps", "z"))
    levels = jnp.asarray(reference["levels"], jnp.uint8)

    @jax.jit
    def compute(model):
        x = model.likelihood.from_levels(levels)

        def loss(model):
            terms = bounds.elbo(model, x, eps)
            return -terms.elbo.mean(), terms

        (_, terms), gradient = jax.value_and_grad(loss, has_aux=True)(model)
        return model.encode(x), model.decode(z), terms, gradient

    return compute(model)


def test_forward(found, reference):
    (mean, log_variance), parameters, _, _ = found
    assert_close(mean, reference["mean"])
    assert_close(log_variance, reference["logvar"])
    assert_close(parameters, reference["parameters"])


def test_elbo_and_its_terms(found, reference):
    _, _, terms, _ = found
    assert_close(terms.log_px_given_z, reference["log_px"])
    assert_close(terms.kl, reference["kl"])
    assert_close(terms.elbo, reference["log_px"] - reference["kl"])


def test_gradient(found, model, reference):
    expected = as_model(model, reference, "grad")
    for gradient, array in zip(jax.tree.leaves(found[3]), jax.tree.leaves(expected), strict=True):
        assert_close(gradient, array)

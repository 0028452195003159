"""The doubling VNCA against an independent PyTorch model in float64, by the arrays of tests/reference/doubling.npz.

The numbers are compared in every formulation of a convolution. Parameters, images and noise are given to both sides, so
nothing depends on a random generator, and float32 rounding is all that may differ.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from torch_layout import (
    UPDATE_TOLERANCE,
    as_model,
    assert_close,
    assert_posterior_and_growth,
    ours,
    reference_of,
    sizes,
)

from vnca_jax import bounds, losses, parallel
from vnca_jax.compute import FORMULATIONS, Compute
from vnca_jax.models import DoublingVNCA, replace
from vnca_jax.step import TrainState, make_optimizer, make_steps, place_state

LEARNING_RATE = 1e-4


reference = reference_of("doubling")


@pytest.fixture(scope="module")
def model(reference):
    size = sizes(reference)
    num_doublings = (size.pop("image_size") // 2).bit_length() - 1
    skeleton = eqx.filter_eval_shape(lambda: DoublingVNCA(num_doublings=num_doublings, **size, key=jr.key(0)))
    return as_model(skeleton, reference, "param")


@pytest.fixture(scope="module", params=FORMULATIONS)
def found(request, model, reference):
    """Our side of most comparisons, in one formulation."""
    return ours(replace(model, compute=Compute("float32", request.param)), reference)


def test_posterior_and_growth(found, reference):
    growth = [cells[0] for stage in found["growth"] for cells in stage]
    assert_posterior_and_growth(found, growth, reference)


def test_elbo_and_its_terms(found, reference):
    assert_close(found["terms"].elbo, reference["elbo"])
    assert_close(found["terms"].log_px_given_z, reference["log_px"])
    assert_close(found["terms"].kl, reference["kl"])


def test_decode_and_elbo_with_beta(model, reference):
    x, eps, z = (jnp.asarray(reference[name], jnp.float32) for name in ("x", "eps", "z"))
    assert_close(model.decode(z)[..., 0], reference["logits"])
    terms = bounds.elbo(model, x, eps, beta=float(reference["beta"]))
    assert_close(-terms.elbo.mean(), reference["loss_beta"])


def test_iwelbo(found, reference):
    assert_close(found["iwelbo"], reference["iwelbo"])


def test_gradient(found, model, reference):
    expected = as_model(model, reference, "grad")
    for gradient, array in zip(jax.tree.leaves(found["gradient"]), jax.tree.leaves(expected), strict=True):
        assert_close(gradient, array)


def test_two_updates(model, reference):
    """The first gradient is clipped and the second is not: Adam's second step shows that, its first does not."""
    x, eps = jnp.asarray(reference["x"], jnp.float32), jnp.asarray(reference["eps"], jnp.float32)

    def loss(model, scales, batch, key):
        """-scales[0] ELBO, each image with the reference's noise, in chunks of one image."""
        which = jnp.argmax(jnp.all(batch.images[:, None] == x[None], axis=(2, 3, 4)), axis=1)

        def chunk_loss(model, _, chunk):
            terms = bounds.elbo(model, *chunk)
            return -scales[0] * terms.elbo.mean(), terms

        value, _ = losses.mean_over_chunks(chunk_loss, model, (), (batch.images, eps[which]), chunk_size=1)
        return value, (jnp.roll(scales, -1), {})

    mesh, optimizer = parallel.make_mesh(1), make_optimizer(LEARNING_RATE)
    copy = jax.tree.map(jnp.copy, model)  # `take_steps` takes over the memory of its state
    scales = jnp.asarray(reference["loss_scales"], jnp.float32)
    state = TrainState(jnp.int32(0), copy, optimizer.init(copy), scales, jr.key(0))
    state = place_state(state, mesh)
    images = parallel.place(np.asarray(reference["x"], np.uint8), mesh)
    take_steps = make_steps(losses.Loss(lambda model: scales, loss), optimizer, mesh, batch_size=len(x), max_steps=1)
    for i, prefix in enumerate(("updated", "updated_twice")):
        state, terms = take_steps(state, images, 1)
        assert_close(terms["gradient_norm"][0], reference["gradient_norms"][i])
        expected = as_model(model, reference, prefix)
        for leaf, array in zip(jax.tree.leaves(state.model), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(leaf, array, rtol=0, atol=UPDATE_TOLERANCE)

"""The non-doubling VNCA and pool training against an independent PyTorch model in float64, by nondoubling.npz.

As in tests/test_reference.py, parameters, images, noise and here the states from the pool are given to both sides, and
float32 rounding is all that may differ.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from torch_layout import (
    UPDATE_TOLERANCE,
    as_model,
    assert_close,
    assert_posterior_and_growth,
    model_of,
    ours,
    reference_of,
)

from vnca_jax import automaton, bounds, conv, losses, parallel
from vnca_jax import pool as pools
from vnca_jax.compute import FORMULATIONS, Compute
from vnca_jax.models import NonDoublingVNCA, replace
from vnca_jax.step import CLIP_NORM, TrainState, make_optimizer, make_steps, place_state

LEARNING_RATE = 1e-4


model = model_of(NonDoublingVNCA, as_model)
reference = reference_of("nondoubling")


@pytest.fixture(scope="module", params=FORMULATIONS)
def found(request, model, reference):
    """Our side of the model's comparisons, in one formulation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "WINOGRAD_MIN_CELLS", 1)  # the reference's grid is smaller than any that gains from it
        return ours(replace(model, compute=Compute("float32", request.param)), reference)


def test_posterior_and_growth(found, reference):
    growth = found["growth"][0]
    assert_posterior_and_growth(found, growth, reference)


def test_bounds(found, reference):
    assert_close(found["terms"].elbo, reference["elbo"])
    assert_close(found["terms"].log_px_given_z, reference["log_px"])
    assert_close(found["terms"].kl, reference["kl"])
    assert_close(found["iwelbo"], reference["iwelbo"])


def test_gradient(found, model, reference):
    expected = as_model(model, reference, "grad")
    for gradient, array in zip(jax.tree.leaves(found["gradient"]), jax.tree.leaves(expected), strict=True):
        assert_close(gradient, array)


# --- one update with states from the pool ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool_reference(reference):
    """The arrays of the update; where the reference has the pool's images last, we have them at every second place."""
    given = {name.removeprefix("pool/"): value for name, value in reference.items() if name.startswith("pool/")}
    for name in ("x", "eps", "log_px", "kl", "cells"):
        halves = np.split(given[name], 2)
        given[name] = np.stack(halves, axis=1).reshape(given[name].shape)
    return given


def draw_as_given(patch, given):
    """Lets the loss draw the reference's states, squares, noise and number of steps; which are damaged it decides."""
    images, states = jnp.asarray(given["x"][1::2], jnp.uint8), jnp.asarray(given["states"], jnp.float32)
    squares, noise = jnp.asarray(given["squares"]), jnp.asarray(given["eps"], jnp.float32)
    damage = automaton.damage

    def draw(pool, num_drawn, *, key):
        assert num_drawn == len(images)
        return pools.Drawn(images, states, jnp.asarray(True))

    patch.setattr(pools, "draw", draw)
    patch.setattr(automaton, "square", lambda height, width, *, key: jnp.ones((height, width), bool))
    patch.setattr(automaton, "damage", lambda cells, where: damage(cells, where & squares))
    patch.setattr(bounds, "sample_noise", lambda keys, size: noise)
    patch.setattr(jr, "randint", lambda key, shape, low, high: jnp.full(shape, given["num_steps"], jnp.int32))


def keep_gradient():
    """An optimizer whose state is the last gradient, which it lets pass."""

    def update(updates, state, params=None):
        return updates, updates

    return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


@pytest.fixture(scope="module")
def updated(model, pool_reference):
    """The state and the terms after one update by `losses.pool_loss`, in two chunks, as `train.fit` takes it."""
    x = pool_reference["x"].astype(np.uint8)
    fresh = x.copy()
    fresh[1::2] = 1 - x[1::2]  # what the images from the pool replace
    pool_loss = losses.pool_loss(size=len(x))

    def apply(model, pool, batch, key):
        """The pool's loss of the images in the reference's order, not in that of an epoch."""
        ordered = losses.Batch(jnp.asarray(fresh, jnp.float32), batch.index, batch.step, batch.chunk_size)
        return pool_loss.apply(model, pool, ordered, key)

    model = replace(model, min_steps=1, max_steps=int(pool_reference["num_steps"]) + 2)
    mesh, optimizer = parallel.make_mesh(1), optax.chain(keep_gradient(), make_optimizer(LEARNING_RATE))
    copy = jax.tree.map(jnp.copy, model)  # `take_steps` takes over the memory of its state
    state = TrainState(jnp.int32(0), copy, optimizer.init(copy), pool_loss.init(model), jr.key(0))
    loss = losses.Loss(pool_loss.init, apply)
    take_steps = make_steps(loss, optimizer, mesh, batch_size=len(x), max_steps=1, chunk_size=4)
    with pytest.MonkeyPatch.context() as patch:
        draw_as_given(patch, pool_reference)
        state, terms = take_steps(place_state(state, mesh), parallel.place(x, mesh), 1)
    return state, {name: float(values[0]) for name, values in terms.items()}


def test_terms_with_the_pool(updated, pool_reference):
    _, terms = updated
    assert terms["num_steps"] == pool_reference["num_steps"]
    assert_close(terms["loss"], pool_reference["loss"])
    assert_close(terms["log_px_given_z"], pool_reference["log_px"].mean())
    assert_close(terms["kl"], pool_reference["kl"].mean())
    assert_close(terms["gradient_norm"], pool_reference["gradient_norm"])


def test_gradient_with_the_pool(updated, model, reference):
    """It does not flow into the states from the pool."""
    state, _ = updated
    expected = as_model(model, reference, "pool/grad")
    for gradient, array in zip(jax.tree.leaves(state.opt_state[0]), jax.tree.leaves(expected), strict=True):
        assert_close(gradient, array)


def test_update_with_the_pool(updated, model, reference, pool_reference):
    """Adam's first moment shows that it was given the clipped gradient."""
    state, _ = updated
    expected = as_model(model, reference, "pool/updated")
    for leaf, array in zip(jax.tree.leaves(state.model), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, array, rtol=0, atol=UPDATE_TOLERANCE)
    first_moment = optax.tree.get(state.opt_state, "mu")
    scale = 0.1 * CLIP_NORM / pool_reference["gradient_norm"]
    expected = as_model(model, reference, "pool/grad")
    for leaf, array in zip(jax.tree.leaves(first_moment), jax.tree.leaves(expected), strict=True):
        assert_close(leaf, scale * np.asarray(array))


def test_what_went_into_the_pool(updated, pool_reference):
    """The pool was empty and has room for just this batch, so all of it went in, in its order."""
    state, _ = updated
    np.testing.assert_array_equal(state.carry.images, pool_reference["x"].astype(np.uint8))
    assert_close(state.carry.cells, pool_reference["cells"])
    assert np.asarray(state.carry.filled).all()

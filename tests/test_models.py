"""The doubling VNCA: its sizes counted by hand, what it does untrained, growth against decoding, refused sizes."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from close import assert_one_example_is_as_in_a_batch, assert_samples_depend_on_the_key_alone, two_latents

from vnca_jax import models
from vnca_jax.errors import InputError
from vnca_jax.likelihoods import DiscretizedLogisticMixture
from vnca_jax.models import DoublingVNCA

# All different, so that none can stand for another.
SIZES: Any = {
    "image_channels": 2,
    "latent_size": 5,
    "hidden_size": 4,
    "num_doublings": 2,
    "steps_per_doubling": 3,
    "num_blocks": 1,
    "encoder_width": 6,
    "encoder_depth": 0,
}


def skeleton(**sizes):
    return eqx.filter_eval_shape(lambda: DoublingVNCA(**sizes, key=jr.key(0)))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


LATER = {"num_mixtures": 0, "update_network": "residual", "one_per_scale": False}  # what files may lack


@pytest.fixture(scope="module")
def untrained():
    key = jr.key(0, impl="rbg")  # quicker to compile than the default
    return jax.jit(lambda key: DoublingVNCA(**SIZES, key=key))(key)


@pytest.fixture(scope="module")
def model(untrained):
    """With random numbers for the last layer of the update network."""
    rng = np.random.default_rng(0)
    out = jax.tree.map(lambda a: jnp.asarray(rng.normal(scale=0.3, size=a.shape), jnp.float32), untrained.update.out)
    return eqx.tree_at(lambda model: model.update.out, untrained, out)


def test_number_of_parameters():
    model = skeleton()
    assert count(model) == 6_585_088
    assert count(model.update) == 1_182_208
    assert count(model.encoder) == 6_585_088 - 1_182_208
    assert model.image_size == 32


def test_encoder_sizes():
    """Grids of 32, 16, 8, 4 and 2 cells a side, the last of them flattened; odd sides are rounded up."""
    shapes = [conv.weight.shape for conv in skeleton().encoder.convs]
    assert shapes == [(5, 5, 1, 32), (5, 5, 32, 64), (5, 5, 64, 128), (5, 5, 128, 256), (5, 5, 256, 512)]
    assert skeleton().encoder.dense.weight.shape == (2 * 2 * 512, 2 * 256)

    def encoder_of(image_size, padding):
        sizes = models.NonDoublingSizes(image_size=image_size)
        return eqx.filter_eval_shape(lambda key: models.Encoder(sizes, first_padding=padding, key=key), jr.key(0))

    # The paper's other model has this encoder: all but its update network.
    assert count(encoder_of(28, 4)) == 5_042_304 - 163_968
    for image_size, first_padding, side in ((28, 4, 2), (28, 2, 2), (33, 2, 3), (17, 2, 2), (16, 2, 1)):
        encoder = encoder_of(image_size, first_padding)
        assert encoder.dense.weight.shape == (side * side * 512, 256)
        x = jax.ShapeDtypeStruct((3, image_size, image_size, 1), jnp.float32)
        assert [a.shape for a in eqx.filter_eval_shape(encoder, x)] == [(3, 128)] * 2


def test_encoder_splits_mean_and_log_variance(untrained):
    """With the weights of the dense layer at zero, what comes out is its bias: the mean, then the log-variance."""
    dense = untrained.encoder.dense
    bias = jnp.arange(10, dtype=jnp.float32)
    model = eqx.tree_at(lambda m: (m.encoder.dense.weight, m.encoder.dense.bias), untrained, (0 * dense.weight, bias))
    mean, log_variance = jax.jit(lambda model, x: model.encode(x))(model, np.ones((8, 8, 2), np.float32))
    assert mean.tolist() == [0, 1, 2, 3, 4]
    assert log_variance.tolist() == [5, 6, 7, 8, 9]


def test_untrained_decode_repeats_the_latent(untrained, decode):
    """The automaton is the identity, so each pixel shows the latent's first channels."""
    z = two_latents()
    np.testing.assert_array_equal(decode(untrained, z), np.broadcast_to(z[:, None, None, :2], (2, 8, 8, 2)))


def test_growth(model, decode):
    """Stage k has M + 1 states of 2^(k + 1) cells a side, the first of them the last of the stage before, doubled."""
    z = two_latents()
    stages = jax.jit(lambda model, z: model.grow(z))(model, z)
    parameters = model.outputs(stages[-1][-1])
    stages = [np.asarray(stage) for stage in stages]
    assert [stage.shape for stage in stages] == [(4, 2, 2, 2, 5), (4, 2, 4, 4, 5), (4, 2, 8, 8, 5)]
    np.testing.assert_array_equal(stages[0][0], np.broadcast_to(z[:, None, None], (2, 2, 2, 5)))
    for before, after in itertools.pairwise(stages):
        np.testing.assert_array_equal(after[0], before[-1].repeat(2, axis=1).repeat(2, axis=2))
    for stage in stages:
        assert np.abs(np.diff(stage, axis=0)).max(axis=(2, 3, 4)).min() > 0.01
    np.testing.assert_array_equal(parameters, stages[-1][-1][..., :2])
    np.testing.assert_allclose(decode(model, z), parameters, rtol=2e-6, atol=1e-5)


def test_one_example_is_as_in_a_batch(model, decode):
    assert_one_example_is_as_in_a_batch(model, decode, two_latents(), 8)


def test_samples_depend_on_the_key_alone(model, decode):
    assert_samples_depend_on_the_key_alone(model, decode)


def test_hyperparameters_rebuild_the_model():
    original = skeleton(**SIZES)
    assert models.hyperparameters(original) == SIZES | LATER
    rebuilt = eqx.filter_eval_shape(
        lambda: models.MODELS["DoublingVNCA"](**models.hyperparameters(original), key=jr.key(0))
    )
    assert jax.tree.structure(rebuilt) == jax.tree.structure(original)
    assert jax.tree.leaves(rebuilt) == jax.tree.leaves(original)
    assert list(models.hyperparameters(skeleton()).values()) == [256, 256, 4, 8, 4, 32, 4, 1, *LATER.values()]


def test_twin_layers_start_different(untrained):
    (first, second), *_ = untrained.update.blocks
    assert np.abs(first.weight - second.weight).min() > 0


@pytest.mark.parametrize(
    ("name", "value", "smallest"),
    [(name, 0, 1) for name in SIZES if name not in ("num_blocks", "encoder_depth")]
    + [("latent_size", -3, 1), ("num_blocks", -1, 0), ("encoder_depth", -2, 0), ("num_mixtures", -1, 0)],
)
def test_refused_sizes(name, value, smallest):
    with pytest.raises(InputError) as error:
        skeleton(**SIZES | {name: value})
    assert str(error.value) == f"`{name}` is {value}, but must be at least {smallest}."


def test_cells_too_small_for_the_likelihood():
    with pytest.raises(InputError) as error:
        skeleton(image_channels=3, latent_size=2)
    assert str(error.value) == (
        "`latent_size` is 2, but a cell must hold the decoder's 3 outputs per pixel; give a larger `latent_size`."
    )
    assert skeleton(image_channels=3, latent_size=3).latent_size == 3


def test_colours():
    """A cell shows 10 numbers for each component of the mixture; the paper's model of 64x64 colours has 5 doublings."""
    assert skeleton(image_channels=3, num_mixtures=2, latent_size=20).likelihood == DiscretizedLogisticMixture(2)
    for sizes, sentence in (
        (
            {"image_channels": 3, "num_mixtures": 2, "latent_size": 19},
            "a cell must hold the decoder's 20 outputs",
        ),
        (
            {"num_mixtures": 1},
            "`image_channels` is 1, but a mixture of logistics has 3 colours: give `image_channels` 3, or",
        ),
    ):
        with pytest.raises(InputError, match=sentence):
            skeleton(**sizes)
    paper = skeleton(image_channels=3, num_mixtures=1, num_doublings=5)
    assert paper.image_size == 64
    encoder = (3 * 32 * 25 + 32) + 51_264 + 204_928 + 819_456 + 3_277_312 + (4 * 4 * 512 * 512 + 512)
    assert count(paper) == encoder + 1_182_208 == 9_732_416

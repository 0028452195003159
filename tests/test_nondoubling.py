"""The non-doubling VNCA: its sizes counted by hand, what it does untrained, growth against decoding, refused sizes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training

from vnca_jax import models
from vnca_jax.errors import InputError
from vnca_jax.models import NonDoublingVNCA


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def skeleton(**sizes):
    return eqx.filter_eval_shape(lambda: NonDoublingVNCA(**sizes, key=jr.key(0)))


def test_number_of_parameters():
    """5,042,304 at 28x28, as at 32x32: the first padding is 2 there and not 4, and its output the same."""
    paper = skeleton()
    assert count(paper) == count(skeleton(image_size=32)) == 5_042_304
    assert count(paper.update) == 9 * 128 * 128 + 128 + 128 * 128
    assert (paper.encoder.convs[0].padding, skeleton(image_size=32).encoder.convs[0].padding) == (4, 2)
    assert (paper.min_steps, paper.num_steps, paper.max_steps) == (32, 48, 64)


def test_untrained_it_shows_the_seed():
    """The last layer is zero, so that every cell is z after any number of steps."""
    model = eqx.tree_at(lambda m: m.update.out, tiny_training.tiny_nondoubling(), jnp.zeros((4, 4)))
    z = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4)), jnp.float32)
    expected = np.broadcast_to(np.asarray(z)[:, None, None], (2, 4, 4, 4))
    np.testing.assert_array_equal(model.steps(model.seed(z), 3), expected)
    np.testing.assert_array_equal(model.decode(z), expected[..., :1])


def test_growth_and_other_numbers_of_steps():
    """`grow` begins with the seed and ends where `decode` does; T more steps are as many steps at once."""
    model = tiny_training.tiny_nondoubling(num_steps=3)
    z = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4)), jnp.float32)
    [states] = model.grow(z)
    assert len(states) == 4
    np.testing.assert_array_equal(states[0], model.seed(z))
    np.testing.assert_allclose(states[-1][..., :1], model.decode(z), rtol=1e-6)
    longer = models.replace(model, num_steps=5)
    np.testing.assert_allclose(longer.decode(z), model.steps(states[-1], 2)[..., :1], rtol=1e-5)
    assert models.hyperparameters(longer) == models.hyperparameters(model) | {"num_steps": 5}


def test_replace_keeps_the_parameters_shapes():
    with pytest.raises(ValueError, match="would change the shapes"):
        models.replace(tiny_training.tiny_nondoubling(), hidden_size=5)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"num_steps": 0}, "num_steps is 0, but must be at least 1."),
        ({"min_steps": 9, "max_steps": 8}, "min_steps is 9, but must be at most max_steps, 8."),
        ({"update_probability": 0.0}, "update_probability is 0.0, but must be above 0 and at most 1."),
        ({"update_probability": 1.5}, "update_probability is 1.5, but must be above 0 and at most 1."),
        ({"latent_size": 1, "image_channels": 3}, "a cell must hold the likelihood's 3 parameters a pixel"),
    ],
)
def test_refusals(sizes, sentence):
    with pytest.raises(InputError, match=sentence):
        skeleton(**sizes)

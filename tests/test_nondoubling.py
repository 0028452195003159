"""The non-doubling VNCA: its sizes counted by hand, what it does untrained, growth against decoding, refused sizes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training

from vnca_jax import models, update_networks
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
    assert (paper.sizes.min_steps, paper.num_steps, paper.sizes.max_steps) == (32, 48, 64)


def test_residual_update():
    """With residual blocks a step adds what the doubling VNCA's update network does; appendix A.5's has 4 of them."""
    paper = skeleton(image_size=32, image_channels=3, latent_size=256, num_mixtures=1, num_blocks=4, hidden_size=128)
    update = (9 * 256 * 128 + 128) + 8 * (128 * 128 + 128) + (128 * 256 + 256)
    assert count(paper.update) == update == 460_160
    model = tiny_training.tiny_nondoubling(num_blocks=2, hidden_size=5)
    assert isinstance(model.update, update_networks.ResidualUpdate)
    cells = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 4)), jnp.float32)
    once = cells + model.update(cells)
    assert np.abs(once - cells).max() > 0.01
    np.testing.assert_allclose(model.steps(cells, 1), once, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(model.steps(cells, 2), once + model.update(once), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(model.update(cells), by_hand(model.update, cells), rtol=1e-5, atol=1e-6)


def by_hand(update, cells):
    """3x3 convolution, x + W2 ELU(W1 x) for each block, 1x1 convolution, in float64."""
    update = jax.tree.map(lambda array: np.asarray(array, np.float64), update)
    padded = np.pad(np.asarray(cells, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = update.perceive.bias + sum(
        padded[:, i : i + 4, j : j + 4] @ update.perceive.weight[i, j] for i in range(3) for j in range(3)
    )
    for first, second in update.blocks:
        hidden = x @ first.weight + first.bias
        x = x + np.where(hidden > 0, hidden, np.expm1(hidden)) @ second.weight + second.bias
    return x @ update.out.weight + update.out.bias


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
        ({"num_steps": 0}, "`num_steps` is 0, but must be at least 1."),
        ({"min_steps": 9, "max_steps": 8}, "`min_steps` is 9, but must be at most `max_steps`, 8."),
        ({"update_probability": 0.0}, "`update_probability` is 0.0, but must be above 0 and at most 1."),
        ({"update_probability": 1.5}, "`update_probability` is 1.5, but must be above 0 and at most 1."),
        ({"num_blocks": -1}, "`num_blocks` is -1, but must be at least 0."),
        ({"num_mixtures": 1}, "`image_channels` is 1, but a mixture of logistics has 3 colours: give "),
        ({"latent_size": 1, "image_channels": 3}, "a cell must hold the decoder's 3 outputs per pixel"),
    ],
)
def test_refusals(sizes, sentence):
    with pytest.raises(InputError, match=sentence):
        skeleton(**sizes)

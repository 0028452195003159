"""The convolutional baseline: its sizes counted by hand, what it computes on extreme numbers, refused sizes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from close import assert_one_example_is_as_in_a_batch, assert_samples_depend_on_the_key_alone, two_latents

from vnca_jax import bounds, models
from vnca_jax.errors import InputError
from vnca_jax.models import ConvVAE

# All different, so that none can stand for another; 6 x 6 pixels are 8 x 8 cells inside.
SIZES = {"image_size": 6, "image_channels": 2, "latent_size": 5, "encoder_width": 3, "encoder_depth": 1}


def skeleton(**sizes):
    return eqx.filter_eval_shape(lambda: ConvVAE(**sizes, key=jr.key(0)))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def model():
    """With normal numbers for parameters, at a scale that keeps activations of order 1."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(scale=0.2, size=a.shape), a.dtype), skeleton(**SIZES))


def test_number_of_parameters():
    model = skeleton()
    assert count(model) == 9_495_809
    assert [count(layer) for layer in model.encoder.convs] == [832, 51_264, 204_928, 819_456, 3_277_312]
    assert count(model.encoder.dense) == 2048 * 256 + 256
    assert count(model.dense) == 128 * 2048 + 2048
    assert [count(layer) for layer in model.transposed] == [3_277_056, 819_328, 204_864, 51_232, 801]


def test_the_paper_on_celeba():
    """Appendix A.1: 64x64 colours, an encoder with 4 strided convolutions, a decoder with 5 from a 2x2 grid."""
    sizes = {"image_size": 64, "image_channels": 3, "latent_size": 256, "num_mixtures": 1}
    model = skeleton(**sizes, decoder_depth=5, dense_elu=True)
    assert [count(layer) for layer in model.encoder.convs] == [2432, 51_264, 204_928, 819_456, 3_277_312]
    assert count(model.encoder.dense) == 8192 * 512 + 512
    assert model.dense.weight.shape == (256, 4096)
    up = [(1024 >> i, 512 >> i) for i in range(5)]
    assert [layer.weight.shape for layer in model.transposed] == [(5, 5, *pair) for pair in [*up, (32, 10)]]
    assert [(layer.stride, layer.padding) for layer in model.transposed] == [(2, 2)] * 5 + [(1, 2)]
    decoder = sum(25 * wide * narrow + narrow for wide, narrow in [*up, (32, 10)])
    assert count(model) == 8_550_208 + (256 * 4096 + 4096) + decoder == 27_071_082
    z = jax.ShapeDtypeStruct((2, 256), jnp.float32)
    assert jax.eval_shape(lambda model, z: model.decode(z), model, z).shape == (2, 64, 64, 10)
    rebuilt = skeleton(**models.hyperparameters(model))
    assert jax.tree.structure(rebuilt) == jax.tree.structure(model)


def test_elu_after_the_dense_layer(model):
    with_elu = models.replace(model, dense_elu=True)
    z = jnp.asarray(two_latents())
    first = np.asarray(model.seed(z))
    assert (first < -0.05).any()
    np.testing.assert_allclose(with_elu.seed(z), np.where(first > 0, first, np.expm1(first)), rtol=1e-6)


def test_refused_decoder_depths():
    for depth, sentence in (
        (-1, "`decoder_depth` is -1, but must be at least 0."),
        (6, "`image_size` is 28, but with `decoder_depth` 6 it must be an even number above 32."),
    ):
        with pytest.raises(InputError, match=sentence):
            skeleton(decoder_depth=depth)


def test_layers():
    """Appendix A.6's own, first and last padding 4; for 32x32 pixels no cell is taken away and both paddings are 2."""
    model = skeleton()
    assert [layer.weight.shape for layer in model.transposed] == [
        (5, 5, 512, 256),
        (5, 5, 256, 128),
        (5, 5, 128, 64),
        (5, 5, 64, 32),
        (5, 5, 32, 1),
    ]
    assert [(layer.stride, layer.padding) for layer in model.transposed] == [(2, 2)] * 4 + [(1, 4)]
    assert [(layer.stride, layer.padding) for layer in model.encoder.convs] == [(1, 4)] + [(2, 2)] * 4
    assert (model.dense.weight.shape, model.encoder.dense.weight.shape) == ((128, 2 * 2 * 512), (2 * 2 * 512, 256))
    larger = skeleton(image_size=32, image_channels=3)
    assert (larger.transposed[-1].padding, larger.encoder.convs[0].padding) == (2, 2)
    assert larger.transposed[-1].weight.shape == (5, 5, 32, 3)


@pytest.mark.parametrize(("image_size", "depth"), [(28, 4), (32, 4), (36, 3), (18, 5), (2, 1), (5, 0), (1, 0)])
def test_images_come_out_as_large_as_they_go_in(image_size, depth):
    model = skeleton(image_size=image_size, image_channels=2, latent_size=3, encoder_width=2, encoder_depth=depth)
    x = jax.ShapeDtypeStruct((4, image_size, image_size, 2), jnp.float32)
    mean, log_variance = jax.eval_shape(lambda model, x: model.encode(x), model, x)
    assert mean.shape == log_variance.shape == (4, 3)
    assert jax.eval_shape(lambda model, z: model.decode(z), model, mean).shape == x.shape


def test_extreme_logits(model):
    """With the last layer's weights at zero the logits are its bias b, here b = +-10,000: an image of ones or zeros has
    log p(x|z) = 0 or -10,000 a pixel, the gradient of the loss by b is 0 or +-1 a pixel, and nothing is infinite.
    """
    images = np.stack([np.zeros((6, 6, 2)), np.ones((6, 6, 2))]).astype(np.float32)
    last = model.transposed[-1]

    @jax.jit
    def gradient_and_terms(model, images, noise):
        def loss(model):
            terms = bounds.elbo(model, images, noise)
            return -terms.elbo.sum(), terms

        return jax.grad(loss, has_aux=True)(model)

    for sign in (-1, 1):
        arrays = (jnp.zeros_like(last.weight), jnp.full_like(last.bias, sign * 1e4))
        extreme = eqx.tree_at(lambda m: (m.transposed[-1].weight, m.transposed[-1].bias), model, arrays)
        gradient, terms = gradient_and_terms(extreme, images, two_latents())
        impossible = -1e4 * 6 * 6 * 2
        assert terms.log_px_given_z.tolist() == ([impossible, 0] if sign > 0 else [0, impossible])
        assert gradient.transposed[-1].bias.tolist() == [sign * 36, sign * 36]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradient, terms)))


def test_one_example_is_as_in_a_batch(model, decode):
    assert_one_example_is_as_in_a_batch(model, decode, two_latents(), 6)


def test_samples_depend_on_the_key_alone(model, decode):
    assert_samples_depend_on_the_key_alone(model, decode)


def test_hyperparameters_rebuild_the_model():
    original = skeleton(**SIZES)
    assert models.hyperparameters(original) == SIZES | {"num_mixtures": 0, "decoder_depth": None, "dense_elu": False}
    rebuilt = eqx.filter_eval_shape(lambda: models.MODELS["ConvVAE"](**models.hyperparameters(original), key=jr.key(0)))
    assert jax.tree.structure(rebuilt) == jax.tree.structure(original)
    assert jax.tree.leaves(rebuilt) == jax.tree.leaves(original)
    assert list(models.hyperparameters(skeleton()).values()) == [28, 128, 32, 4, 1, 0, None, False]


@pytest.mark.parametrize(
    ("name", "value", "smallest"),
    [*((name, 0, 1) for name in SIZES if name != "encoder_depth"), ("latent_size", -3, 1), ("encoder_depth", -1, 0)],
)
def test_refused_sizes(name, value, smallest):
    with pytest.raises(InputError) as error:
        skeleton(**SIZES | {name: value})
    assert str(error.value) == f"`{name}` is {value}, but must be at least {smallest}."


@pytest.mark.parametrize(("image_size", "depth", "above"), [(27, 4, 8), (8, 4, 8), (7, 1, 1), (1, 1, 1)])
def test_refused_image_sizes(image_size, depth, above):
    """Odd sides, which no border makes a power of two, and sides that `encoder_depth` halvings would use up."""
    with pytest.raises(InputError) as error:
        skeleton(image_size=image_size, encoder_depth=depth)
    assert str(error.value) == (
        f"`image_size` is {image_size}, but with `encoder_depth` {depth} it must be an even number above {above}."
    )

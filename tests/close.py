"""What is equal up to rounding, for arrays whose entries are of one order, and comparisons that several tests make."""

import jax
import jax.random as jr
import numpy as np


def assert_close(actual, expected, tolerance):
    """Equal shapes, and errors of at most `tolerance` times the largest expected value."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def value_and_gradients(layer, x, dy, formulation):
    """A convolution's output, and the gradients of its weight, bias and input where that of its output is dy."""
    y, vjp = jax.vjp(lambda layer, x: layer(x, formulation), layer, x)
    d_layer, dx = vjp(dy)
    return y, d_layer.weight, d_layer.bias, dx


def in_one_program(cases, formulation):
    """`value_and_gradients` of each case, (layer, x, dy) by name, as one program compiled in one formulation."""

    def everything(cases):
        return {k: value_and_gradients(layer, x, dy, formulation) for k, (layer, x, dy) in cases.items()}

    return jax.jit(everything)(cases)


def assert_one_example_is_as_in_a_batch(model, decode, z, side):
    """Encoded and decoded alone, the second of two examples, of two channels, gives what it gives beside the first."""
    x = np.random.default_rng(2).integers(0, 2, size=(2, side, side, 2)).astype(np.float32)
    one = jax.jit(lambda model, z, x: (model.decode(z), *model.encode(x)))(model, z[1], x[1])
    two = (decode(model, z), *jax.jit(lambda model, x: model.encode(x))(model, x))
    for of_one, of_two in zip(one, two, strict=True):
        assert np.abs(of_two[0] - of_two[1]).max() > 0.01
        np.testing.assert_allclose(of_one, of_two[1], rtol=2e-6, atol=1e-5)


def assert_samples_depend_on_the_key_alone(model, decode):
    """And are what z of that key decodes to."""
    sample = jax.jit(lambda model, key: model.sample(2, key=key))
    first, again, other = (np.asarray(sample(model, jr.key(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max(axis=(1, 2, 3)).min() > 0.01
    z = jr.normal(jr.key(1), (2, model.latent_size))
    np.testing.assert_allclose(decode(model, z), first, rtol=2e-6, atol=1e-5)


def two_latents():
    """z of two examples, of five numbers each."""
    return np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)

"""The mixture of discretized logistics against its formula in NumPy's float64: probabilities, gradients, samples."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import chisquare

from vnca_jax.bounds import bits_per_dimension
from vnca_jax.errors import InputError
from vnca_jax.likelihoods import DiscretizedLogisticMixture

LEVELS = np.arange(256)
SURE = (1e4, 0, 0)  # mean, log-scale and coefficient of a colour that has the highest level and log P = 0
log_prob = jax.jit(lambda likelihood, parameters, x: likelihood.log_prob(parameters, x), static_argnums=0)
mean = jax.jit(lambda likelihood, parameters: likelihood.mean(parameters), static_argnums=0)
sample = jax.jit(lambda likelihood, parameters, key: likelihood.sample(parameters, key=key), static_argnums=0)


def cdf(level, mean, log_scale):
    """P(a colour's level <= `level`), with the colours from -1 to 1 and half a level on both sides."""
    inside = expit(((2 * level + 1) / 255 - 1 - mean) * np.exp(-np.maximum(log_scale, -7)))
    return np.where(level < 0, 0, np.where(level >= 255, 1, inside))


def log_level(level, mean, log_scale):
    """log P(level), as a difference of whichever tails are the smaller numbers."""
    below = cdf(level, mean, log_scale) - cdf(level - 1, mean, log_scale)
    above = cdf(255 - level, -mean, log_scale) - cdf(254 - level, -mean, log_scale)
    return np.log(np.where(level < 127.5 * (mean + 1), below, above))


def components(parameters, num_components):
    """log-weights `(..., l)`, then means, log-scales, coefficients `(..., l, 3)`, read off one by one."""
    logits = parameters[..., :num_components]
    rest = parameters[..., num_components:].reshape(*parameters.shape[:-1], num_components, 9)
    return (
        logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True),
        rest[..., :3],
        rest[..., 3:6],
        np.tanh(rest[..., 6:]),
    )


def log_prob_by_formula(parameters, levels, num_components):
    """log p of each pixel `(..., 3)`, in float64."""
    log_weight, mean, log_scale, coefficients = components(np.asarray(parameters, np.float64), num_components)
    total = log_weight.copy()
    red, green, _ = np.moveaxis(levels[..., None, :] / 127.5 - 1, -1, 0)
    a, b, c = np.moveaxis(coefficients, -1, 0)
    for i, shift in enumerate((0, a * red, b * red + c * green)):
        total += log_level(levels[..., None, i], mean[..., i] + shift, log_scale[..., i])
    return np.logaddexp.reduce(total, axis=-1)


def random_parameters(rng, shape, num_components, log_scales=(-5, 0)):
    logits = rng.normal(size=(*shape, num_components))
    mean, coefficients = (
        rng.uniform(-1.1, 1.1, (*shape, num_components, 3)),
        rng.normal(size=(*shape, num_components, 3)),
    )
    log_scale = rng.uniform(*log_scales, (*shape, num_components, 3))
    rest = np.concatenate([mean, log_scale, coefficients], axis=-1).reshape(*shape, -1)
    return np.concatenate([logits, rest], axis=-1).astype(np.float32)


def of_red(mean, log_scale):
    """Parameters of one component per pair of `mean` and `log_scale` for red, green and blue being sure."""
    mean, log_scale = np.broadcast_arrays(mean, log_scale)
    columns = [np.zeros_like(mean), mean, *[np.full_like(mean, SURE[0])] * 2, log_scale]
    return np.stack(columns + [np.zeros_like(mean)] * 5, axis=-1).astype(np.float32)


def pixels(levels):
    """Images of one pixel, `(n, 1, 1, 3)`."""
    return (np.asarray(levels, np.float32) / 255).reshape(-1, 1, 1, 3)


def test_levels_of_one_colour_sum_to_one():
    """For all 256 levels, from scales far below a level to ones that leave nothing between the ends."""
    means, log_scales = [-1e4, -1.3, -1, -0.5, 0.0017, 0.6, 1, 20], [-1e4, -7, -5.3, -4, -2, 0, 3, 10, 20, 100, 1e4]
    pairs = np.array(list(itertools.product(means, log_scales)), np.float32)
    parameters = np.repeat(of_red(*pairs.T), 256, axis=0).reshape(-1, 1, 1, 10)
    levels = np.full((len(pairs), 256, 3), 255)
    levels[..., 0] = LEVELS
    found = np.asarray(log_prob(DiscretizedLogisticMixture(1), parameters, pixels(levels)), np.float64)
    probabilities = np.exp(found.reshape(-1, 256))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-6)
    mean, log_scale = pairs.astype(np.float64).T[..., None]
    ordinary = log_scale[:, 0] < 20  # beyond, differences of float64 tails lose their digits too
    expected = np.diff(cdf(np.arange(-1, 256), mean, log_scale), axis=1)
    np.testing.assert_allclose(probabilities[ordinary], expected[ordinary], rtol=1e-5, atol=3e-6)


def test_probabilities_by_hand():
    """Mean 0 and scale 1: the ends have sigmoid(-254/255) each, level 127 has 1/2 - sigmoid(-2/255), and so on."""
    parameters = np.repeat(of_red(0.0, 0.0)[None], 4, axis=0).reshape(4, 1, 1, 10)
    levels = [[0, 255, 255], [255, 255, 255], [127, 255, 255], [128, 255, 255]]
    found = np.exp(np.asarray(log_prob(DiscretizedLogisticMixture(1), parameters, pixels(levels)), np.float64))
    np.testing.assert_allclose(found, [0.2697131764, 0.2697131764, 0.0019607742, 0.0019607742], rtol=5e-7)


def test_extreme_probabilities_by_hand():
    """A mean of 10,000 makes level 254 fall short by (10,000 - 253/255) e^7 nats; a scale of e^1000 leaves half of the
    probability at each end and 2/255 e^-1000 / 4 between.
    """
    parameters = np.stack([of_red(*pair) for pair in ((1e4, -7), (1e4, -7), (0, 1e3), (0, 1e3), (0, 1e3))])
    levels = [[254, 255, 255], [255, 255, 255], [0, 255, 255], [255, 255, 255], [77, 255, 255]]
    found = log_prob(DiscretizedLogisticMixture(1), parameters.reshape(5, 1, 1, 10), pixels(levels))
    expected = [-(1e4 - 254 / 255) * np.exp(7), 0, np.log(0.5), np.log(0.5), np.log(2 / 255 / 4) - 1e3]
    np.testing.assert_allclose(found, expected, rtol=3e-7)


def boxed_sum(num_components, levels):
    """The sum of the probabilities of all colours with their red, green and blue in `levels`, of one pixel."""
    rng = np.random.default_rng(num_components)
    parameters = random_parameters(rng, (), num_components, log_scales=(-4.5, -4))
    mean = parameters[num_components:].reshape(num_components, 9)[:, :3]
    mean[:] = np.linspace(-1.01, -0.8, num_components)[:, None]
    parameters[num_components:].reshape(num_components, 9)[:, 6:] = [0.3, -0.2, 0.15]  # keeps the colours in the box
    likelihood = DiscretizedLogisticMixture(num_components)
    green, blue = (x.ravel() for x in np.meshgrid(levels, levels, indexing="ij"))

    @jax.jit
    def with_red(red):
        x = jnp.stack([jnp.full(green.shape, red), jnp.asarray(green), jnp.asarray(blue)], axis=-1)
        x = likelihood.from_levels(x[:, None, None])
        return likelihood.log_prob(jnp.broadcast_to(parameters, (len(x), 1, 1, len(parameters))), x)

    return sum(np.exp(np.asarray(with_red(red), np.float64)).sum() for red in levels)


@pytest.mark.parametrize("num_components", [1, 4])
def test_colours_sum_to_one(num_components):
    """Of 80 x 80 x 80 colours at the dark end, beyond which no component has more than 1e-8 of its probability."""
    assert abs(boxed_sum(num_components, range(80)) - 1) < 1e-6


@pytest.mark.long
@pytest.mark.parametrize("num_components", [1, 4])
def test_all_colours_sum_to_one(num_components):
    assert abs(boxed_sum(num_components, range(256)) - 1) < 1e-6


def test_log_prob_against_the_formula():
    """Three components, images of several pixels, leading axes, with and without."""
    rng = np.random.default_rng(0)
    parameters = random_parameters(rng, (2, 3, 4, 5), 3)
    levels = rng.integers(0, 256, (2, 3, 4, 5, 3))
    levels[0, 0, 0] = [[0, 0, 0], [255, 255, 255], [0, 255, 0], [1, 254, 255], [255, 0, 128]]
    expected = log_prob_by_formula(parameters, levels, 3).sum(axis=(2, 3))
    likelihood = DiscretizedLogisticMixture(3)
    x = np.asarray(likelihood.from_levels(jnp.asarray(levels, jnp.uint8)))
    np.testing.assert_allclose(log_prob(likelihood, parameters, x), expected, rtol=2e-6)
    np.testing.assert_allclose(log_prob(likelihood, parameters[1, 2], x[1, 2]), expected[1, 2], rtol=2e-6)


def test_gradient_against_differences_of_the_formula():
    rng = np.random.default_rng(1)
    n, step = 40, 1e-6
    parameters, levels = random_parameters(rng, (n,), 2), rng.integers(0, 256, (n, 3))
    levels[:4] = [[0, 0, 0], [255, 255, 255], [0, 255, 3], [255, 0, 254]]
    gradient = jax.jit(jax.grad(lambda p, x: DiscretizedLogisticMixture(p.shape[-1] // 10).log_prob(p, x).sum()))
    found = gradient(parameters.reshape(n, 1, 1, 20), pixels(levels)).reshape(n, 20)
    shifted = np.asarray(parameters, np.float64)[:, None] + step * np.stack([np.eye(20), -np.eye(20)])[:, None]
    plus, minus = log_prob_by_formula(shifted, np.broadcast_to(levels[:, None], (n, 20, 3)), 2)
    expected = (plus - minus) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    clipped = gradient(of_red(0.2, -7.5).reshape(1, 1, 1, 10), pixels([[130, 255, 255]])).ravel()
    assert clipped[4] == 0 and clipped[1] != 0


def extreme_parameters():
    """Of two components, `(54, 20)`: all pairs of their signs, scales from nothing to beyond float32."""
    cases = itertools.product([-1e4, 0.3, 1e4], [-1e4, -7, 0, 10, 100, 1e4], [-1e4, 0.4, 1e4])
    means, log_scales, coefficients = np.array(list(cases), np.float32)[:, :, None].repeat(3, axis=2).swapaxes(0, 1)
    logits = 1e4 * np.sign(means[:, :1])
    columns = [logits, -logits, means, log_scales, coefficients, -means, log_scales, -coefficients]
    return np.concatenate(columns, axis=1).astype(np.float32)


def test_extreme_parameters_have_finite_values_and_gradients():
    levels = np.array(list(itertools.product([0, 1, 128, 254, 255], repeat=2)))[:, [0, 1, 0]]
    parameters = extreme_parameters().repeat(len(levels), axis=0)[:, None, None]
    x = np.tile(pixels(levels), (54, 1, 1, 1))
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(DiscretizedLogisticMixture(2).log_prob)))(parameters, x)
    assert len(value) == 1350 and (np.asarray(value) <= 0).all()
    assert np.isfinite(value).all() and np.isfinite(gradient).all()


def bin_probabilities(parameters, edges):
    """P(red, green and blue in each of the bins that end before `edges`), in float64, over two components."""
    log_weight, mean, log_scale, coefficients = components(np.asarray(parameters, np.float64), 2)
    value, ends = LEVELS / 127.5 - 1, np.array([0, *edges, 256]) - 1
    total = np.zeros([len(edges) + 1] * 3)
    for weight, m, s, (a, b, c) in zip(np.exp(log_weight), mean, log_scale, coefficients, strict=True):
        red = np.diff(cdf(np.arange(-1, 256), m[0], s[0]))
        green = np.diff(cdf(np.arange(-1, 256), m[1] + a * value[:, None], s[1]))
        blue_mean = m[2] + b * value[:, None] + c * value[None]
        blue = np.diff(cdf(ends, blue_mean[..., None], s[2]))
        joint = (red[:, None] * green)[..., None] * blue
        total += weight * np.add.reduceat(np.add.reduceat(joint, ends[:-1] + 1, axis=0), ends[:-1] + 1, axis=1)
    return total


def test_samples():
    """Frequencies of 40,000 pixels: of each level of red, and of red, green and blue together in 6 x 6 x 6 bins."""
    parameters = np.array([0.4, -0.3, -0.55, 0.1, 0.2, -2, -1.2, -2.5, 0.9, 0.5, -0.4], np.float32)
    parameters = np.append(parameters, np.array([0.7, -0.2, 0.1, -3, -2, -1, -1.5, -0.3, 0.8], np.float32))
    likelihood = DiscretizedLogisticMixture(2)
    wide = jnp.broadcast_to(parameters, (4, 100, 100, 20))
    x, again, other = (np.asarray(sample(likelihood, wide, jr.key(seed, impl="rbg"))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(x, again)
    assert (x != other).mean() > 0.9
    levels = np.rint(x * 255).astype(int)
    np.testing.assert_allclose(levels / 255, x, rtol=1e-7)
    levels = levels.reshape(-1, 3)

    weight, means, log_scale, _ = components(np.asarray(parameters, np.float64), 2)
    cdf_red = [cdf(np.arange(-1, 256), m, s) for m, s in zip(means[:, 0], log_scale[:, 0], strict=True)]
    red = np.exp(weight) @ np.diff(cdf_red, axis=1)
    assert min(red[0], red[255]) > 20 / 40_000  # so that the ends are counted by themselves
    counted(np.bincount(levels[:, 0], minlength=256), red)
    edges = [20, 64, 100, 150, 235]
    cells = np.ravel_multi_index(tuple(np.digitize(levels, edges).T), (6, 6, 6))
    counted(np.bincount(cells, minlength=216), bin_probabilities(parameters, edges).ravel())

    extreme = np.resize(extreme_parameters(), wide.shape)
    x = sample(likelihood, extreme, jr.key(2, impl="rbg"))
    assert ((x >= 0) & (x <= 1)).all()


def counted(counts, probabilities):
    """That `counts` are draws from `probabilities`, those that expect fewer than 10 in one cell."""
    expected = probabilities * counts.sum()
    rare = expected < 10
    counts, expected = (np.append(a[~rare], a[rare].sum()) for a in (counts, expected))
    assert len(counts) > 40 and abs(expected.sum() - counts.sum()) < 1e-6 * counts.sum()
    assert chisquare(counts, expected).pvalue > 1e-3


def mean_by_sums(parameters, num_components):
    """E[x] of one pixel, in float64: sums over 256 reds, 256 x 256 reds and greens, and all blues."""
    value, total = LEVELS / 127.5 - 1, np.zeros(3)
    for weight, m, s, (a, b, c) in zip(*components(np.asarray(parameters, np.float64), num_components), strict=True):
        if weight < -100:
            continue
        red = np.diff(cdf(np.arange(-1, 256), m[0], s[0]))
        joint = red[:, None] * np.diff(cdf(np.arange(-1, 256), m[1] + a * value[:, None], s[1]))
        blue_mean = m[2] + b * value[:, None] + c * value[None]
        below = sum((joint * cdf(level, blue_mean, s[2])).sum() for level in range(255))  # E[255 - blue]
        sums = [red @ LEVELS, joint.sum(axis=0) @ LEVELS, 255 - below]
        total += np.exp(weight) * np.array(sums) / 255
    return total


def test_mean_against_sums_over_all_colours():
    """Of one component, the other having no weight, and of two; of extreme parameters it is a number in [0, 1]."""
    rng = np.random.default_rng(3)
    parameters = random_parameters(rng, (5,), 2, log_scales=(-7.5, 1))
    parameters[:4, :2] = [1e4, -1e4]
    extreme = extreme_parameters()[::10]
    found = mean(DiscretizedLogisticMixture(2), np.concatenate([parameters, extreme])[:, None, None])[:, 0, 0]
    error = 255 * (np.asarray(found[:5], np.float64) - [mean_by_sums(p, 2) for p in parameters])
    assert np.abs(error).max() < 0.5
    assert np.sqrt(np.mean(error**2)) < 0.1
    assert ((found >= 0) & (found <= 1)).all()


def test_levels_and_bits():
    """Levels come back from x exactly; a uniform choice among 256 levels costs 8 bits a dimension."""
    x = DiscretizedLogisticMixture(1).from_levels(jnp.arange(256, dtype=jnp.uint8).repeat(3).reshape(16, 16, 3))
    np.testing.assert_allclose(x, (LEVELS / 255).repeat(3).reshape(16, 16, 3), rtol=1e-7)
    assert bits_per_dimension(-64 * 64 * 3 * np.log(256), (64, 64, 3)) == pytest.approx(8, rel=1e-12)


def test_sizes():
    assert [DiscretizedLogisticMixture(size).num_outputs(3) for size in (1, 5)] == [10, 50]
    with pytest.raises(InputError, match="`image_channels` is 1, but a mixture of logistics has 3 colours: give "):
        DiscretizedLogisticMixture(1).num_outputs(1)
    with pytest.raises(InputError, match="num_components is 0, but must be at least 1."):
        DiscretizedLogisticMixture(0)


def test_pixel_error_by_hand():
    """Two components of equal weight: red 0.2 and 0.4 on [-1, 1], green follows red by half, blue lies beyond 1."""
    likelihood = DiscretizedLogisticMixture(2)
    half = float(np.arctanh(0.5))
    components = [[red, 0.1, 3.0, -2.0, -2.0, -2.0, half, 0.0, 0.0] for red in (0.2, 0.4)]
    parameters = np.concatenate([[0.0, 0.0], np.ravel(components)])
    x = np.zeros((1, 1, 3), np.float32)
    expected = np.mean([(0.3 + 1) / 2, (0.1 + 0.15 + 1) / 2, 1.0])
    found = likelihood.pixel_error(jnp.asarray(parameters, jnp.float32)[None, None], jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5)

"""What changes while a model trains, by hand: learning rate, weight of the KL, range of T, moving average."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training
from tiny_training import fit_pooled, numbers, stateless

from vnca_jax import metrics, parallel, train
from vnca_jax.errors import InputError
from vnca_jax.losses import Batch, elbo_loss, pool_loss
from vnca_jax.schedules import LearningRate, StepRange, moving_average_decay
from vnca_jax.train import TrainConfig, fit

compile_once = pytest.fixture(scope="module")(tiny_training.compile_once)

IMAGES = np.ones((5, 1, 1, 1), np.uint8)


def slope(model, carry, batch, key):
    """A loss with gradient 1, for which an update of Adam is the learning rate."""
    return model["w"].sum(), (carry, {})


def run(folder, num_updates, cooldown_updates, **options):
    folder.mkdir(exist_ok=True)
    seen = []
    state = fit(
        {"w": jnp.zeros(1)},
        stateless(slope),
        IMAGES,
        config=TrainConfig(num_updates, 1, 0.5, cooldown_updates, report_every=1, **options),
        mesh=parallel.make_mesh(1),
        directory=folder,
        report=lambda step, model: seen.append(float(model["w"][0])),
    )
    return state, np.array(seen)


def test_the_updates_of_a_run(tmp_path):
    """The updates of a run at a constant learning rate, scaled by the share; float32 holds the path to 2e-7."""
    _, constant = run(tmp_path / "a", 8, 0)
    _, cooled = run(tmp_path / "b", 8, 4)
    np.testing.assert_allclose(np.diff(constant, prepend=0), -0.5, rtol=2e-5)  # Adam's bias correction in float32
    rates = np.array([1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(np.diff(cooled, prepend=0), rates * np.diff(constant, prepend=0), rtol=0, atol=5e-7)


def test_a_run_can_be_cooled_down_later(tmp_path):
    """Constant until update 3 and then asked to end with a cooldown: the bits of a run that was asked so at first."""
    at_once, _ = run(tmp_path / "a", 8, 4)
    run(tmp_path / "b", 3, 0)
    later, _ = run(tmp_path / "b", 8, 4)
    np.testing.assert_array_equal(later.model["w"], at_once.model["w"])


@pytest.mark.parametrize("cooldown", [-1, 11])
def test_impossible_cooldown(cooldown):
    with pytest.raises(InputError, match=rf"`cooldown_updates` is {cooldown}, but must be from 0 to `num_updates`"):
        TrainConfig(num_updates=10, cooldown_updates=cooldown)


def test_shares_of_the_learning_rate():
    def shares(learning_rate):
        return jax.vmap(learning_rate.share)(jnp.arange(10))

    linear = shares(LearningRate(4, range(6, 10)))
    np.testing.assert_allclose(linear, [0.25, 0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5, 0.25], rtol=1e-6)
    cosine = shares(LearningRate(0, range(6, 10), "cosine"))
    half = np.sqrt(0.5) / 2
    np.testing.assert_allclose(cosine, [1] * 7 + [0.5 + half, 0.5, 0.5 - half], rtol=1e-6)
    to_a_fifth = shares(LearningRate(0, range(6, 10), "cosine", 0.2))
    np.testing.assert_allclose(to_a_fifth, [1] * 7 + [0.6 + 0.8 * half, 0.6, 0.6 - 0.8 * half], rtol=1e-6)
    overlapping = shares(LearningRate(10, range(10), "linear"))
    np.testing.assert_allclose(overlapping, np.arange(1, 11) / 10 * np.arange(10, 0, -1) / 10, rtol=1e-6)
    assert LearningRate().is_constant and not LearningRate(1).is_constant


def test_a_run_warms_up(tmp_path):
    _, constant = run(tmp_path / "a", 8, 0)
    _, warmed = run(tmp_path / "b", 8, 2, warmup_updates=4, cooldown_shape="cosine")
    shares = np.array([0.25, 0.5, 0.75, 1, 1, 1, 1, 0.5])
    np.testing.assert_allclose(np.diff(warmed, prepend=0), shares * np.diff(constant, prepend=0), rtol=0, atol=5e-7)


def test_the_moving_average_is_what_a_run_gives(tmp_path):
    """By the recursion a = d a + (1 - d) w over the path of the parameter; it is reported, and a run that goes on has
    it.
    """
    state, path = run(tmp_path / "a", 8, 0)
    average, expected = 0.0, []
    for step, w in enumerate(path):
        d = min(0.4, (1 + step) / (10 + step))
        average = d * average + (1 - d) * w
        expected.append(average)
    averaged, seen = run(tmp_path / "b", 8, 0, ema_decay=0.4)
    np.testing.assert_allclose(seen, expected, rtol=1e-6)
    np.testing.assert_array_equal(averaged.model["w"], state.model["w"])
    np.testing.assert_allclose(averaged.trained_model["w"], expected[-1:], rtol=1e-6)
    run(tmp_path / "c", 5, 0, ema_decay=0.4)
    resumed, _ = run(tmp_path / "c", 8, 0, ema_decay=0.4)
    np.testing.assert_array_equal(resumed.trained_model["w"], averaged.trained_model["w"])
    assert state.trained_model is state.model
    assert moving_average_decay(jnp.int32(90), 0.999) == pytest.approx(0.91)


def test_the_range_of_t_grows():
    grows = StepRange(4, 6, 10)
    ends = [tuple(map(int, grows.at(jnp.int32(step), 16, 24))) for step in (0, 1, 5, 9, 10, 99)]
    assert ends == [(4, 6), (5, 8), (10, 15), (15, 22), (16, 24), (16, 24)]


@pytest.mark.parametrize("make_loss", [elbo_loss, pool_loss])
def test_the_weight_of_the_kl_rises(make_loss):
    """-ELBO = -log p(x|z) + beta min((step + 1) / n, 1) KL, with the terms that the loss itself gives."""
    model = tiny_training.tiny_nondoubling()
    images = jnp.asarray(tiny_training.IMAGES[:8, 2:6, 2:6], jnp.float32)
    loss = make_loss(beta=0.5, beta_updates=4)
    mesh, carry = parallel.make_mesh(1), jax.tree.map(jnp.asarray, loss.init(model))

    def value(step):
        value, (_, terms) = loss.apply(model, carry, Batch(images, jnp.arange(8), step), jr.key(0))
        return value, terms["log_px_given_z"], terms["kl"]

    everywhere = parallel.REPLICATED
    values = jax.jit(jax.shard_map(value, mesh=mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False))
    for step, weight in ((0, 0.125), (1, 0.25), (3, 0.5), (50, 0.5)):
        found, log_px, kl = values(jnp.int32(step))
        assert float(found) == pytest.approx(float(-log_px + weight * kl), rel=1e-6)
        assert abs(float(kl)) > 0.01


@pytest.mark.usefixtures("compile_once")
def test_the_pool_begins_later(tmp_path):
    """Until then the pool stays empty and T is drawn as always; then it fills, a batch per update."""
    late = pool_loss(size=32, pool_from=4)
    never = pool_loss(size=32, pool_from=100)
    for num_updates, filled in ((4, 0), (5, 16), (6, 32)):
        state = fit_pooled(tmp_path / "late", num_updates, loss=late)
        assert int(np.asarray(state.carry.filled).sum()) == filled
        assert (np.abs(np.asarray(state.carry.cells)).max(axis=(1, 2, 3)) > 0).sum() == filled
    fit_pooled(tmp_path / "never", 6, loss=never)
    by_late, by_never = (metrics.read(tmp_path / name / "metrics.jsonl") for name in ("late", "never"))
    np.testing.assert_array_equal(by_late["loss"][:5], by_never["loss"][:5])  # the fifth finds an empty pool
    assert by_late["loss"][5] != by_never["loss"][5]
    np.testing.assert_array_equal(by_late["num_steps"], by_never["num_steps"])


@pytest.mark.usefixtures("compile_once")
def test_a_run_with_all_schedules_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    """Stopped before and after the pool begins, with everything that changes under way."""
    monkeypatch.setattr(train, "SECONDS_PER_CALL", 0)
    loss = pool_loss(size=32, beta=0.5, beta_updates=6, pool_from=2, step_range=StepRange(1, 2, 4))
    options = {"ema_decay": 0.9, "warmup_updates": 4, "checkpoint_minutes": 0.0, "loss": loss}
    whole = numbers(fit_pooled(tmp_path / "whole", 5, **options))
    for num_updates in (2, 4):
        fit_pooled(tmp_path / "parts", num_updates, **options)
    parts = numbers(fit_pooled(tmp_path / "parts", 5, **options))
    assert parts.keys() == whole.keys() and any("average" in name for name in parts)
    for name, value in whole.items():
        assert parts[name].tobytes() == value.tobytes(), name
    by_whole, by_parts = (metrics.read(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts"))
    np.testing.assert_array_equal(by_whole["num_steps"], by_parts["num_steps"])
    assert by_whole["num_steps"][0] <= 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"warmup_updates": -1}, "`warmup_updates` is -1, but must be at least 0."),
        ({"ema_decay": 1.0}, "`ema_decay` is 1.0, but must be at least 0 and below 1."),
        ({"cooldown_to": -0.1}, "`cooldown_to` is -0.1, but must be at least 0 and below 1."),
    ],
)
def test_impossible_schedules(option, message):
    with pytest.raises(InputError) as error:
        TrainConfig(**option)
    assert str(error.value) == message

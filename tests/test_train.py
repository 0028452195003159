"""The one training loop: its updates by hand, what its randomness depends on, and that interruptions change nothing."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training
from tiny_training import stateless

from vnca_jax import metrics, parallel, train
from vnca_jax.errors import InputError, Stopped
from vnca_jax.train import STOPPING, TrainConfig, fit, split_seed


def assert_same(state, other):
    """The same bits."""
    ours, theirs = tiny_training.numbers(state), tiny_training.numbers(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def assert_same_metrics(folder, other):
    """The same lines, but for what the clock said."""
    ours, theirs = metrics.read(folder / "metrics.jsonl"), metrics.read(other / "metrics.jsonl")
    assert ours.keys() == theirs.keys() == {"step", "gradient_norm", "loss", "memory", "seconds"}
    for name in ours.keys() - {"seconds"}:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


compile_once = pytest.fixture(scope="module", autouse=True)(tiny_training.compile_once)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, tiny_training.run(folder, 150, checkpoint_minutes=5.0)


# The update


def clipped_adam(gradients, learning_rate, *, clip=True):
    """All parameters on the way from zero, in float64: clipping to norm 10, then Adam, as published."""
    parameters, m, v, path = 0.0, 0.0, 0.0, []
    for t, gradient in enumerate(gradients, start=1):
        norm = np.linalg.norm(gradient)
        g = gradient * 10 / norm if clip and norm > 10 else gradient
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        parameters = parameters - learning_rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        path.append(parameters)
    return path


def test_updates_against_numpy(tmp_path):
    images = np.random.default_rng(0).integers(1, 4, size=(4, 8, 8, 1), dtype=np.uint8)
    images[::2] *= 80  # so the gradient, which is the image, has a norm of about 1400 or of about 17
    images[3] = 0
    images[3, :4, :4] = 1  # or of 4, which is not clipped

    def loss(model, carry, batch, key):
        return (model["w"] * batch.images[0]).sum(), (carry, {})

    seen, model = {}, {"w": jnp.zeros((8, 8, 1))}
    fit(
        model,
        stateless(loss),
        images,
        config=TrainConfig(num_updates=8, batch_size=1, learning_rate=0.01, report_every=1),
        mesh=parallel.make_mesh(1),
        directory=tmp_path,
        key=jr.key(3),
        report=lambda step, model: seen.update({step: np.asarray(model["w"])}),
    )
    order_key, _ = jr.split(jr.key(3))
    order = np.concatenate([jr.permutation(jr.fold_in(order_key, epoch), 4) for epoch in (0, 1)])
    gradients = images[order].astype(np.float64)
    expected = clipped_adam(gradients, 0.01)
    assert list(seen) == list(range(1, 9))
    assert not model["w"].any()  # the caller's, whose memory the updates have not taken
    for step, parameters in seen.items():
        np.testing.assert_allclose(parameters, expected[step - 1], rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(seen[1][gradients[0] > 0], -0.01, rtol=1e-5)  # the first step of Adam is a sign
    assert np.abs(np.subtract(expected, clipped_adam(gradients, 0.01, clip=False))).max() > 1e-3
    columns = metrics.read(tmp_path / "metrics.jsonl")
    norms = np.linalg.norm(gradients.reshape(8, -1), axis=1)
    np.testing.assert_allclose(columns["gradient_norm"], norms, rtol=1e-6)
    losses = [0.0] + [(w * g).sum() for w, g in zip(expected[:-1], gradients[1:], strict=True)]
    np.testing.assert_allclose(columns["loss"], losses, rtol=2e-5, atol=1e-6)


def test_order_and_noise_have_keys_of_their_own(tmp_path):
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)

    def loss(model, carry, batch, key):
        first, second = batch.images[:, 0, 0, 0]
        drawn = jax.vmap(jr.uniform)(batch.keys(key))
        terms = {"images": 10 * first + second, "noise": drawn[0], "other_noise": drawn[1]}
        return model["w"], (carry, terms)

    fit(
        {"w": jnp.zeros(())},
        stateless(loss),
        images,
        config=TrainConfig(num_updates=5, batch_size=2),
        mesh=parallel.make_mesh(1),
        directory=tmp_path,
        key=jr.key(7),
    )
    order_key, noise_key = jr.split(jr.key(7))
    assert not np.array_equal(jr.key_data(order_key), jr.key_data(noise_key))
    order = np.concatenate([jr.permutation(jr.fold_in(order_key, epoch), 5) for epoch in (0, 1)])
    columns = metrics.read(tmp_path / "metrics.jsonl")
    np.testing.assert_array_equal(columns["images"], 10 * order[0::2] + order[1::2])
    for name, i in (("noise", 0), ("other_noise", 1)):
        expected = [jr.uniform(jr.fold_in(jr.fold_in(noise_key, step), i)) for step in range(5)]
        np.testing.assert_allclose(columns[name], expected, atol=1e-6)


def test_one_seed_one_result(uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SECONDS_PER_CALL", 0.01)  # other groups of updates
    assert_same(tiny_training.run(tmp_path / "same", 150, checkpoint_minutes=5.0), uninterrupted[1])
    assert_same_metrics(tmp_path / "same", uninterrupted[0])
    tiny_training.run(tmp_path / "other", 150, seed=1)
    ours, other = (metrics.read(f / "metrics.jsonl")["loss"] for f in (uninterrupted[0], tmp_path / "other"))
    assert (ours != other).all()


def test_keys_of_a_seed_differ():
    words = [tuple(jr.key_data(key).tolist()) for seed in (0, 1) for key in split_seed(seed)]
    assert len(set(words)) == 8


# Interruptions


def test_a_run_in_two_parts_ends_on_the_same_bits(uninterrupted, tmp_path):
    steps = []
    tiny_training.run(tmp_path, 110, report=lambda step, _: steps.append(step), report_every=50)
    assert steps == [50, 100]
    state = tiny_training.run(tmp_path, 150, report=lambda step, _: steps.append(step), report_every=50)
    assert steps == [50, 100, 150]
    assert_same(state, uninterrupted[1])
    assert_same_metrics(tmp_path, uninterrupted[0])
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    assert_same(tiny_training.run(tmp_path, 150), state)  # nothing is left to do
    assert (tmp_path / "metrics.jsonl").read_bytes() == lines


def steps_in(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_run_that_is_killed_while_it_saves_ends_on_the_same_bits(uninterrupted, tmp_path):
    command = [sys.executable, tiny_training.__file__, str(tmp_path), "150"]
    environment = {**os.environ, "PYTHONPATH": str(tiny_training.ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    checkpoints = tmp_path / "checkpoints"
    while not (steps_in(tmp_path) >= 5 and any(checkpoints.glob("*tmp*"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.kill()
    process.communicate()
    killed_at = steps_in(tmp_path)
    assert killed_at < 150
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 99, "gradient_norm": 0.')  # as if it had been killed while writing a line, too

    saved = max(int(path.name) for path in checkpoints.iterdir() if path.name.isdigit())
    assert saved in (killed_at - 1, killed_at)
    assert_same(tiny_training.run(tmp_path, 150, checkpoint_minutes=5.0), uninterrupted[1])
    assert_same_metrics(tmp_path, uninterrupted[0])
    assert {path.name for path in checkpoints.iterdir()} == {str(saved), "150"}  # two, and nothing torn


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    """As `nohup` has it with SIGHUP."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        tiny_training.run(tmp_path, 4, report=lambda *_: signal.raise_signal(signal.SIGHUP), report_every=2)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and steps_in(tmp_path) == 4
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.fixture
def listening():
    """No signal is ignored, as a shell has it that starts the tests in the background."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("number", STOPPING)
def test_a_run_that_is_asked_to_stop_saves_and_goes_on(uninterrupted, tmp_path, number):
    handlers = [signal.getsignal(each) for each in STOPPING]

    def stop(step, _):
        if step == 40:
            signal.raise_signal(number)

    with pytest.raises(Stopped) as stopped:
        tiny_training.run(tmp_path, 150, report=stop, report_every=40, checkpoint_minutes=5.0)
    step = steps_in(tmp_path)
    assert 40 < step < 150
    assert str(stopped.value) == f"Stopped at update {step}, which is saved; the same command resumes it."
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [str(step)]
    assert [signal.getsignal(each) for each in STOPPING] == handlers
    assert_same(tiny_training.run(tmp_path, 150), uninterrupted[1])
    assert_same_metrics(tmp_path, uninterrupted[0])


def test_a_run_with_little_time_goes_on_from_session_to_session(uninterrupted, tmp_path, monkeypatch):
    clock = types.SimpleNamespace(monotonic=itertools.count(0.0).__next__)  # a second later whenever it is asked
    monkeypatch.setattr(train, "time", clock)
    stopped_at = []
    while True:
        session = tmp_path / str(len(stopped_at))  # elsewhere, with what the one before has left
        try:
            state = tiny_training.run(session, 150, checkpoint_minutes=5.0, max_minutes=0.3)
            break
        except Stopped:
            stopped_at.append(steps_in(session))
        shutil.copytree(session, tmp_path / str(len(stopped_at)))
    assert len(stopped_at) > 2 and (np.diff(stopped_at) > 0).all()
    assert_same(state, uninterrupted[1])
    assert_same_metrics(session, uninterrupted[0])


# What stops a run


def test_a_loss_that_is_not_finite(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SECONDS_PER_CALL", 1e9)  # calls of 1, 4, 16 ... updates

    def loss(model, carry, batch, key):
        value, (_, terms) = tiny_training.loss(model, carry, batch, key)
        return value + jnp.where(carry[0, 0] < 2, 0, jnp.nan), (carry + 1, terms)

    expected = (
        r"^Update 3 gave gradient_norm = nan, loss = nan; the checkpoint of step 1 is kept. "
        r"Try a lower `learning_rate` or another `seed`.$"
    )
    with pytest.raises(FloatingPointError, match=expected.replace("gradient_norm = nan, ", "(gradient_norm = nan, )?")):
        tiny_training.run(tmp_path, 30, loss=loss)
    columns = metrics.read(tmp_path / "metrics.jsonl")
    assert columns["step"].tolist() == [1, 2] and np.isfinite(columns["loss"]).all()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_updates": 0}, "`num_updates` is 0, but must be positive."),
        ({"batch_size": -8}, "`batch_size` is -8, but must be positive."),
        ({"learning_rate": 0.0}, "`learning_rate` is 0.0, but must be positive."),
        ({"learning_rate": float("nan")}, "`learning_rate` is nan, but must be positive."),
        ({"chunk_size": 0}, "`chunk_size` is 0, but must be positive."),
        ({"report_every": -1}, "`report_every` is -1, but must be positive."),
        ({"keep_checkpoints": 0}, "`keep_checkpoints` is 0, but must be positive."),
        ({"checkpoint_minutes": -0.5}, "`checkpoint_minutes` is -0.5, but must be at least 0."),
        ({"max_minutes": 0.0}, "`max_minutes` is 0.0, but must be positive."),
        ({"seed": -1}, "`seed` is -1, but must be from 0 to 4294967295."),
        ({"seed": 2**32}, "`seed` is 4294967296, but must be from 0 to 4294967295."),
    ],
)
def test_settings_that_are_refused(options, sentence):
    with pytest.raises(InputError) as error:
        TrainConfig(**options)
    assert str(error.value) == sentence


def test_batches_that_do_not_fit_int32_are_refused(tmp_path):
    with pytest.raises(InputError, match="beyond int32: take fewer steps at a time, or a batch size with"):
        tiny_training.run(tmp_path, 1, batch_size=2**30 + 1)

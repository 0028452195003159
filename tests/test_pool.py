"""The pool follows the law of appendix A.3 on any number of devices: against NumPy, and against what is known exactly.

In the long run, half of the drawn states have been through the automaton once, a quarter twice, and so on; and a state
stays from step to step with probability P / (P + B), whatever happened before.
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pool_simulation
import pytest
from pool_simulation import AGE, DEVICE, NAME, PUT_IN, SIZES

from vnca_jax import parallel, pool
from vnca_jax.errors import InputError

P, B = SIZES["num_slots"], SIZES["batch_size"]
SETTLED = 100  # steps until the first states' influence is gone
XLA_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    command = [sys.executable, str(Path(__file__).with_name("pool_simulation.py")), str(folder)]
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "XLA_FLAGS": XLA_FLAGS, "JAX_PLATFORMS": "cpu"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def ours(folder):
    return dict(np.load(folder / "8.npz"))


def distribution(values, length=12):
    """Shares of 1, 2, ..., `length` and more."""
    counts = np.bincount(np.minimum(values.ravel().astype(int), length), minlength=length + 1)[1:]
    return counts / counts.sum()


def geometric(success, length=12):
    shares = success * (1 - success) ** np.arange(length)
    shares[-1] = (1 - success) ** (length - 1)
    return shares


def laws(drawn):
    """The distributions of the drawn states' ages, and of the steps since they were put in."""
    settled = drawn[SETTLED:]
    steps = np.arange(SETTLED, len(drawn))[:, None]
    return distribution(settled[..., AGE]), distribution(steps - settled[..., PUT_IN])


def distance(a, b):
    """Total variation."""
    return np.abs(a - b).sum() / 2


def test_the_law(ours):
    """1,400 steps of 8 draws are within 0.02 of the law; NumPy's transcription of the paper says how much noise is."""
    by_the_paper = laws(pool_simulation.by_the_paper(**SIZES))
    exact = geometric(1 / 2), geometric(B / (P + B))
    for found, paper, law in zip(laws(ours["drawn"]), by_the_paper, exact, strict=True):
        assert distance(paper, law) < 0.02
        assert distance(found, law) < 0.02
        assert distance(found, paper) < 0.03


def test_moving_only_device_blocks_is_found_out(folder):
    """A pool that permutes devices and no slots draws last step's states, however long it runs."""
    blocks = dict(np.load(folder / "blocks.npz"))
    _, waiting = laws(blocks["drawn"])
    assert distance(waiting, geometric(B / (P + B))) > 0.5


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_any_number_of_devices_draws_the_same(folder, ours, num_devices):
    found = dict(np.load(folder / f"{num_devices}.npz"))
    states = [AGE, PUT_IN, NAME]
    np.testing.assert_array_equal(found["drawn"][..., states], ours["drawn"][..., states])
    np.testing.assert_array_equal(found["cells"][..., states], ours["cells"][..., states])


def test_states_cross_devices(ours):
    """Of the states that any device put in, any device draws about an eighth."""
    went = ours["drawn"][SETTLED:, :, DEVICE].astype(int) * 8 + ours["device"][SETTLED:]
    shares = np.bincount(went.ravel(), minlength=64) / went.size
    np.testing.assert_allclose(shares, 1 / 64, atol=0.006)


def test_draws_are_distinct_and_begin_with_the_second_step(ours):
    """More than half a batch must be in the pool; then the draws of a step are different states."""
    assert np.isnan(ours["drawn"][0]).all()
    assert np.isfinite(ours["drawn"][1:]).all()
    for step, states in enumerate(ours["drawn"][1:], start=1):
        assert len({tuple(state) for state in states}) == B // 2
        assert (states[:, PUT_IN] < step).all()


@pytest.fixture(scope="module")
def one_step():
    """`(pool, key) -> drawn cells and pool`, on one device, with the batch's cells -1, -2, ..."""

    def run(pooled, key):
        draw_key, put_key = jr.split(key)
        drawn = pool.draw(pooled, 2, key=draw_key)
        new = -1.0 - jnp.arange(4.0)[:, None, None, None]
        return drawn.cells, pool.put_back(pooled, jnp.zeros((4, 1, 1, 1), jnp.uint8), new, key=put_key)

    mesh = parallel.make_mesh(1)
    specs = {"in_specs": (parallel.SHARDED, parallel.REPLICATED), "out_specs": parallel.SHARDED}
    return jax.jit(jax.shard_map(run, mesh=mesh, check_vma=False, **specs))


def a_pool(num_filled):
    filled = np.arange(6) < num_filled
    cells = np.where(filled, np.arange(6) + 1, np.nan).astype(np.float32)[:, None, None, None]
    return pool.Pool(np.zeros((6, 1, 1, 1), np.uint8), cells, filled)


def test_every_slot_is_reached(one_step):
    """From a pool of 3 filled slots of 6: draws are uniform over the 3; of 3 old and 4 new, any 6 stay as often."""
    drawn, kept = np.zeros(3), np.zeros(7)
    num_trials = 2000
    for key in jr.split(jr.key(3), num_trials):
        cells, after = one_step(a_pool(3), key)
        values = np.asarray(cells).ravel().astype(int)
        assert len(set(values)) == 2
        drawn[values - 1] += 1
        stayed = np.asarray(after.cells).ravel().astype(int)
        assert len(set(stayed)) == 6 and np.asarray(after.filled).all()
        kept[np.where(stayed > 0, stayed - 1, 2 - stayed)] += 1
    np.testing.assert_allclose(drawn / num_trials, 2 / 3, atol=4 * np.sqrt(2 / 9 / num_trials))
    np.testing.assert_allclose(kept / num_trials, 6 / 7, atol=4 * np.sqrt(6 / 49 / num_trials))


def test_while_there_is_room_all_stay(one_step):
    _, after = one_step(a_pool(1), jr.key(0))
    assert np.asarray(after.cells).ravel()[:5].tolist() == [1, -1, -2, -3, -4]
    assert np.asarray(after.filled).tolist() == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("num_slots", "batch_size", "sentence"),
    [
        (7, 8, "`pool_size` is 7, but must be a positive multiple of the number of devices, 2"),
        (64, 10, "`batch_size` is 10, but half of each device's part comes from the pool: give a multiple of 4"),
        (4, 8, "`pool_size` is 4, but must be above half the batch, 4"),
    ],
)
def test_refusals(num_slots, batch_size, sentence):
    with pytest.raises(InputError, match=sentence):
        pool.check_sizes(num_slots, batch_size, 2)

"""Training states on disk: the newest are kept, damaged ones refused with a sentence, none lost to a full disk."""

import gc
import os
import re
import shutil

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training

from vnca_jax import parallel
from vnca_jax.checkpoint import Checkpoints
from vnca_jax.errors import InputError
from vnca_jax.step import TrainState, place_state


def state_of(step: int, *, scale: float = 1.0, size: int = 3) -> TrainState:
    model = {"w": scale * jnp.arange(size, dtype=jnp.float32)}
    state = TrainState(
        jnp.int32(step), model, (jax.tree.map(jnp.square, model), jnp.int32(4)), jnp.ones((4, 2)), jr.key(5)
    )
    return place_state(state, parallel.make_mesh(1))


def test_the_newest_states_are_kept_and_restored(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    assert checkpoints.latest_step() is None
    for step in (1, 5, 20):
        checkpoints.save(step, state_of(step, scale=step))
    checkpoints.save(20, state_of(20, scale=99))  # is there already
    assert sorted(os.listdir(tmp_path / "c")) == ["20", "5"]
    checkpoints.close()

    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    assert checkpoints.latest_step() == 20
    state = checkpoints.restore(state_of(0))
    expected = tiny_training.numbers(state_of(20, scale=20))
    assert tiny_training.numbers(state).keys() == expected.keys()
    for name, value in tiny_training.numbers(state).items():
        assert value.dtype == expected[name].dtype
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert jr.key_impl(state.key) == jr.key_impl(jr.key(0))
    assert state.carry.sharding == state_of(0).carry.sharding
    np.testing.assert_array_equal(jr.uniform(state.key), jr.uniform(jr.key(5)))
    checkpoints.close()


def empty_folder(step_folder):
    shutil.rmtree(step_folder)
    step_folder.mkdir()


def truncated_arrays(step_folder):
    for file in [*step_folder.glob("default/**/d/*")]:
        file.write_bytes(file.read_bytes()[:40])


def random_files(step_folder):
    for file in [file for file in step_folder.glob("**/*") if file.is_file()]:
        file.write_bytes(np.random.default_rng(0).bytes(100))


def lost_arrays(step_folder):
    shutil.rmtree(step_folder / "default")


def restoring_refused(checkpoints: Checkpoints, like: TrainState) -> str:
    with pytest.raises(InputError) as error:
        checkpoints.restore(like)
    return str(error.value)


# Orbax leaves coroutines behind when it fails; they are collected in the test that made it fail.
unfinished_reads = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@unfinished_reads
@pytest.mark.parametrize("damage", [empty_folder, truncated_arrays, random_files, lost_arrays])
def test_damaged_checkpoints(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        checkpoints.save(step, state_of(step))
    checkpoints.close()
    damage(tmp_path / "2")
    checkpoints = Checkpoints(tmp_path, keep=2)
    said = r"The checkpoint {} cannot be read \(it is damaged, or of another model: \w+\); remove that folder to {}, "
    said += r"or choose another --name\."
    wanted = said.format(re.escape(str(tmp_path / "2")), "resume from the one before it")
    assert re.fullmatch(wanted, restoring_refused(checkpoints, state_of(0)))
    checkpoints.close()
    shutil.move(tmp_path / "1", tmp_path / "elsewhere")  # now it is the only one
    checkpoints = Checkpoints(tmp_path, keep=2)
    wanted = said.format(re.escape(str(tmp_path / "2")), "start again")
    assert re.fullmatch(wanted, restoring_refused(checkpoints, state_of(0)))
    checkpoints.close()
    shutil.move(tmp_path / "elsewhere", tmp_path / "1")

    shutil.rmtree(tmp_path / "2")  # as it says
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert int(checkpoints.restore(state_of(0)).step) == 1
    checkpoints.close()
    gc.collect()


@unfinished_reads
def test_checkpoints_of_another_model(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(1, state_of(1))
    others = [state_of(0, size=4), state_of(0, size=2)]
    state = state_of(0)
    others += [TrainState(state.step, state.model, state.opt_state, None, jr.key(0))]
    for other in others:
        said = restoring_refused(checkpoints, place_state(other, parallel.make_mesh(1)))
        assert "cannot be read (it is damaged, or of another model: ValueError)" in said
    checkpoints.close()
    gc.collect()


def test_folders_that_are_no_checkpoints(tmp_path):
    (tmp_path / "c" / "notes").mkdir(parents=True)
    (tmp_path / "c" / "readme.txt").write_text("nothing")
    (tmp_path / "c" / "7.orbax-checkpoint-tmp").mkdir()
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    assert checkpoints.latest_step() is None
    checkpoints.save(7, state_of(7))
    assert checkpoints.latest_step() == 7
    checkpoints.close()
    assert sorted(os.listdir(tmp_path / "c")) == ["7", "notes", "readme.txt"]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"The folder .*/file cannot be used \(.*\); choose another --name."):
        Checkpoints(tmp_path / "file", keep=2)

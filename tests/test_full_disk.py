"""A disk that is full, for real (a file system of 3 MB in memory): one sentence, and what had been saved survives."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training

from vnca_jax import checkpoint, metrics, parallel
from vnca_jax.checkpoint import Checkpoints, export_model, import_model
from vnca_jax.errors import InputError
from vnca_jax.metrics import Metrics
from vnca_jax.step import TrainState, place_state
from vnca_jax.writing import write_json


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A small file system, which `fill` fills."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a file system can be mounted by root only: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


compile_once = pytest.fixture(scope="module")(tiny_training.compile_once)


def fill(disk: Path, *, leave: int) -> Path:
    """A file that leaves `leave` bytes of the disk."""
    path = disk / "other"
    path.unlink(missing_ok=True)
    path.write_bytes(bytes(shutil.disk_usage(disk).free - leave))
    return path


def state_of(step: int) -> TrainState:
    """Half a megabyte that does not compress."""
    noise = np.random.default_rng(step).integers(2**32, size=125_000, dtype=np.uint32)
    return place_state(TrainState(jnp.int32(step), {"w": noise}, (), None, jr.key(step)), parallel.make_mesh(1))


def test_a_checkpoint(disk):
    checkpoints = Checkpoints(disk / "c", keep=2)
    checkpoints.save(1, state_of(1))
    fill(disk, leave=100_000)
    with pytest.raises(InputError) as error:
        checkpoints.save(2, state_of(2))
    assert str(error.value) == (
        f"The checkpoint of step 2 could not be saved in {disk / 'c'} (No space left on device); "
        "the checkpoint of step 1 is intact: free some space and start again with the same command."
    )
    assert os.listdir(disk / "c") == ["1"]
    checkpoints.close()

    (disk / "other").unlink()  # as it says
    checkpoints = Checkpoints(disk / "c", keep=2)
    np.testing.assert_array_equal(checkpoints.restore(state_of(0)).model["w"], state_of(1).model["w"])
    checkpoints.save(2, state_of(2))
    assert int(checkpoints.restore(state_of(0)).step) == 2
    checkpoints.close()


def test_the_first_checkpoint(disk):
    fill(disk, leave=100_000)
    checkpoints = Checkpoints(disk / "c", keep=2)
    with pytest.raises(InputError, match=r"\(No space left on device\); there was none before it: free some space"):
        checkpoints.save(1, state_of(1))
    checkpoints.close()
    assert os.listdir(disk / "c") == []


FAILURES = {
    "No space left on device": ValueError("RESOURCE_EXHAUSTED: Error writing [os_error_code='28']\n[a line='2']"),
    "Permission denied": PermissionError(errno.EACCES, "Permission denied"),
    "Read-only file system": OSError(errno.EROFS, "Read-only file system"),
    "Disk quota exceeded": OSError(errno.EDQUOT, "Disk quota exceeded"),
}


@pytest.mark.parametrize("reason", FAILURES)
def test_a_disk_that_fails_in_the_middle_of_a_checkpoint(tmp_path, monkeypatch, reason):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(1, state_of(1))

    def fail(step, **options):
        for name in (f"{step}{checkpoint.TEMPORARY}", str(step)):
            (tmp_path / name / "default").mkdir(parents=True)
            (tmp_path / name / "default" / "torn").write_bytes(bytes(100))
        raise RuntimeError("of many threads") from FAILURES[reason]

    monkeypatch.setattr(checkpoints._manager, "save", fail)
    with pytest.raises(InputError, match=rf"\({reason}\); the checkpoint of step 1 is intact: "):
        checkpoints.save(2, state_of(2))
    assert os.listdir(tmp_path) == ["1"]
    monkeypatch.setattr(checkpoints._manager, "save", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a bug is no matter of the disk
        checkpoints.save(2, state_of(2))
    assert int(checkpoints.restore(state_of(0)).step) == 1
    checkpoints.close()


def test_metrics(disk):
    recorder = Metrics(disk, step=0, num_updates=10)
    terms = {"loss": np.ones(200, np.float32)}
    recorder.add(1, terms, 1.0)
    fill(disk, leave=0)
    with pytest.raises(InputError) as error:
        recorder.add(201, terms, 1.0)
    recorder.close()
    sentence = f"The metrics cannot be written in {disk} (No space left on device); free some space and start again "
    assert str(error.value) == sentence + "with the same command."
    recorder = Metrics(disk, step=150, num_updates=10)  # what is too much is dropped on a full disk too
    recorder.close()
    assert metrics.read(disk / "metrics.jsonl")["step"].tolist() == list(range(1, 151))


def test_a_model_and_results(disk):
    model, path = tiny_training.tiny_vnca(), disk / "model.eqx"
    export_model(path, model, step=1)
    write_json(disk / "results.json", {"a": 1})
    fill(disk, leave=0)
    with pytest.raises(InputError, match=r"model.eqx \(No space left on device\); what was there is untouched.$"):
        export_model(path, model, step=2)
    with pytest.raises(
        InputError, match=r"results.json cannot be written \(No space left on device\); free some space"
    ):
        write_json(disk / "results.json", {"a": 2})
    assert import_model(path)[1]["step"] == 1
    assert (disk / "results.json").read_text() == '{\n  "a": 1\n}\n'
    assert sorted(os.listdir(disk)) == ["model.eqx", "other", "results.json"]


@pytest.mark.usefixtures("compile_once")
def test_training(disk, tmp_path):
    """It stops with a sentence, and goes on where there is space again."""
    tiny_training.run(disk / "run", 10)
    fill(disk, leave=100_000)
    expected = (
        r"checkpoint of step 11 could not be saved .*No space left on device\); the checkpoint of step 10 is intact"
    )
    with pytest.raises(InputError, match=expected):
        tiny_training.run(disk / "run", 20)
    assert max(int(name) for name in os.listdir(disk / "run" / "checkpoints")) == 10
    (disk / "other").unlink()
    state = tiny_training.numbers(tiny_training.run(disk / "run", 20))
    for name, value in tiny_training.numbers(tiny_training.run(tmp_path / "run", 20)).items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)

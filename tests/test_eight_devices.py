"""One to eight devices give the same numbers, up to the order of sums in float32; one process has eight of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_training

from vnca_jax import metrics, parallel
from vnca_jax.errors import with_flags
from vnca_jax.eval import evaluate

pytestmark = pytest.mark.slow  # one process with eight devices compiles for a minute or two

# Less optimized programs compile in half the time.
XLA_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"


def run_with_eight(folder: Path, function: str) -> Path:
    command = [sys.executable, str(Path(__file__).with_name("eight_devices.py")), str(folder), function]
    environment = {
        **os.environ,
        "PYTHONPATH": str(tiny_training.ROOT),
        "XLA_FLAGS": XLA_FLAGS,
        "JAX_PLATFORMS": "cpu",
    }
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (folder / "stderr").write_text(ended.stderr)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return run_with_eight(tmp_path_factory.mktemp("eight"), "main")


@pytest.fixture(scope="module")
def pooled_folder(tmp_path_factory) -> Path:
    return run_with_eight(tmp_path_factory.mktemp("pooled"), "train_pooled")


def assert_close(actual, expected, what=""):
    """But for the order of sums in float32, whose error grows with the largest number that is summed, and for metrics,
    which are rounded to 6 decimals.
    """
    atol = 1e-6 * max(1.0, float(np.abs(np.asarray(expected, np.float64)).max()))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=atol, err_msg=what)


@pytest.fixture(scope="module")
def found(folder):
    return json.loads((folder / "found.json").read_text())


compile_once = pytest.fixture(scope="module")(tiny_training.compile_once)


def assert_same_losses(folder: Path, model: str, num_updates: int) -> None:
    one = metrics.read(folder / f"{model}_1" / "metrics.jsonl")
    assert one["step"].tolist() == list(range(1, num_updates + 1))
    assert len(set(one["loss"])) == num_updates
    for num_devices in (2, 4, 8):
        several = metrics.read(folder / f"{model}_{num_devices}" / "metrics.jsonl")
        for name in one.keys() - {"step", "seconds", "time"}:
            assert_close(several[name], one[name], f"{name} on {num_devices} devices")


def test_training_of_a_vnca(folder):
    assert_same_losses(folder, "vnca", 4)


@pytest.mark.long
def test_training_with_a_pool(pooled_folder):
    assert_same_losses(pooled_folder, "pooled", 5)


@pytest.mark.long
def test_a_pool_saved_on_eight_devices_goes_on_with_one(pooled_folder, tmp_path):
    expected = tiny_training.numbers(tiny_training.fit_pooled(tmp_path, 8))
    state = tiny_training.numbers(tiny_training.fit_pooled(pooled_folder / "pooled_8", 8))
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(state[name], value, name)


@pytest.mark.usefixtures("compile_once")
def test_batches_that_travel_train_to_the_same_bits(folder):
    """The dataset on each of eight devices, and batches of which each device gets its part."""
    resident, streamed = ((folder / name / "metrics.jsonl").read_text() for name in ("carry", "streamed"))
    expected, found = ([json.loads(line) for line in lines.splitlines()] for lines in (resident, streamed))
    for one, other in zip(expected, found, strict=True):
        assert {name: value for name, value in one.items() if name != "seconds"} == {
            name: value for name, value in other.items() if name != "seconds"
        }


def test_a_state_saved_on_eight_devices_goes_on_with_one(folder, tmp_path):
    expected = tiny_training.numbers(tiny_training.run(tmp_path, 6))
    lines = metrics.read(tmp_path / "metrics.jsonl")
    first_lines = (folder / "carry" / "metrics.jsonl").read_bytes()
    assert first_lines.count(b"\n") == 3
    state = tiny_training.numbers(tiny_training.run(folder / "carry", 6))
    assert (folder / "carry" / "metrics.jsonl").read_bytes().startswith(first_lines)
    columns = metrics.read(folder / "carry" / "metrics.jsonl")
    assert columns["step"].tolist() == [1, 2, 3, 4, 5, 6]
    for name in ("loss", "memory", "gradient_norm"):
        assert_close(columns[name], lines[name], name)
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(state[name], value, name)


def test_evaluation(found):
    model, images = tiny_training.tiny_vnca(), tiny_training.IMAGES[:5, 2:6, 2:6]
    one = evaluate(model, images, num_samples=6, seed=3, mesh=parallel.make_mesh(1)).as_json()
    assert (one["num_devices"], found["evaluation"]["num_devices"]) == (1, 8)
    for name, term in one["terms"].items():
        assert_close(found["evaluation"]["terms"][name]["nats"], term["nats"], name)


def test_sentences(folder, found):
    batch = (
        "`batch_size` is 30, but must be a positive multiple of the number of devices, 8; "
        "change it or choose the number with `num_devices`."
    )
    mesh = "9 devices were asked for, but JAX sees 8 (cpu); ask for at least one and no more than that."
    assert found["sentences"] == {"fit": batch, "mesh": mesh}
    assert found["exit_code"] == "2"
    assert (folder / "stderr").read_text().splitlines()[-1] == f"error: {with_flags(batch)}"
    assert not (folder / "runs").exists()

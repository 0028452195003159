"""Two processes of four devices and one of eight give the same numbers, and end together, however one of them ends."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_training
import two_processes
from several_processes import Ended, Processes

from vnca_jax import metrics
from vnca_jax.run_directory import claim

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # each process compiles for ten seconds to a minute

SCRIPT = two_processes.__file__
GONE = (
    "another process of this run has ended or cannot be reached; start all processes again with the same command, and "
    "they resume from the newest checkpoint."
)


def run(function: str, folder: Path, *, count: int) -> list[Ended]:
    """What became of a function of the script, in `count` processes with eight devices together."""
    processes = Processes([SCRIPT, function, folder], folder / f"of {count}", count=count, num_devices=8 // count)
    ended = processes.wait()
    assert [one.code for one in ended] == [0] * count, ended
    return ended


def assert_close(actual, expected, what=""):
    """But for the order of sums in float32, and for metrics, which are rounded to 6 decimals."""
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-6, err_msg=what)


def assert_same_metrics(folder: Path, other: Path, num_updates: int) -> None:
    ours, theirs = metrics.read(folder / "metrics.jsonl"), metrics.read(other / "metrics.jsonl")
    assert ours["step"].tolist() == theirs["step"].tolist() == list(range(1, num_updates + 1))
    assert ours.keys() == theirs.keys() and len(set(ours["loss"])) == num_updates
    for name in ours.keys() - {"seconds"}:
        assert_close(ours[name], theirs[name], name)


# The same numbers


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    return folder, {count: run("compare", folder / str(count), count=count) for count in (1, 2)}


@pytest.mark.parametrize(("model", "num_updates"), [("vnca", 4), ("streamed", 3)])
def test_training(compared, model, num_updates):
    folder, _ = compared
    assert_same_metrics(folder / "2" / model, folder / "1" / model, num_updates)


def test_evaluation(compared):
    one, two = (json.loads((compared[0] / name / "evaluation.json").read_text()) for name in ("1", "2"))
    assert one["num_devices"] == two["num_devices"] == 8 and one["num_images"] == two["num_images"] == 13
    for name, term in one["terms"].items():
        assert_close(two["terms"][name]["nats"], term["nats"], name)


def test_one_process_writes_and_prints(compared):
    folder, ended = compared
    first, second = ended[2]
    assert (second.stdout, second.stderr) == ("", "")
    assert first.stdout.endswith("\nwhat the first one prints\n") and "loss" in first.stderr
    files = [sorted(path.name for path in (folder / name / "vnca").glob("*")) for name in ("1", "2")]
    assert files[0] == files[1] == ["checkpoints", "metrics.jsonl", "tensorboard"]
    events = [list((folder / name / "vnca" / "tensorboard").iterdir()) for name in ("1", "2")]
    assert len(events[0]) == len(events[1]) == 1


def test_a_pool_goes_on_in_one_process_and_in_two_again(tmp_path):
    for count, num_updates in ((2, 3), (1, 6), (2, 9)):
        run("pooled", tmp_path, count=count)
        lines = (tmp_path / "pooled" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, num_updates + 1))
    tiny_training.fit_pooled(tmp_path / "expected", 9)
    assert_same_metrics(tmp_path / "pooled", tmp_path / "expected", 9)
    assert sorted(path.name for path in (tmp_path / "pooled" / "checkpoints").iterdir()) == ["6", "9"]


# The same end


compile_once = pytest.fixture(scope="module")(tiny_training.compile_once)


@pytest.fixture(scope="module")
def uninterrupted(compile_once, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return tiny_training.numbers(tiny_training.run(folder, two_processes.NUM_UPDATES, checkpoint_minutes=5.0))


@pytest.mark.parametrize(
    ("number", "victims"),
    [(signal.SIGKILL, [0]), (signal.SIGKILL, [1]), (signal.SIGTERM, [1]), (signal.SIGTERM, [0, 1])],
)
def test_processes_that_are_ended(uninterrupted, tmp_path, number, victims):
    """The others end soon, with a sentence, and the run goes on from its newest checkpoint."""
    run_folder, lines = tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
    processes = Processes([SCRIPT, "interrupted", run_folder], tmp_path)
    processes.wait_for_lines(lines, 5)
    for victim in victims:
        processes.started[victim].send_signal(number)
    ended_at = time.monotonic()
    ended = processes.wait()
    seconds = time.monotonic() - ended_at
    assert seconds < 60, "the heartbeats of this run are 10 s"
    print(f"{seconds:.1f} s until all had ended")
    step = lines.read_bytes().count(b"\n")
    saved = [int(path.name) for path in (run_folder / "checkpoints").iterdir() if path.name.isdigit()]
    if number == signal.SIGTERM:
        assert [one.code for one in ended] == [75, 75]
        sentence = f"Stopped at update {step}, which is saved; the same command resumes it."
        assert ended[0].stderr.splitlines()[-1] == sentence and "Stopped" not in ended[1].stderr
        assert max(saved) == step
    else:
        [victim] = victims
        survivor = ended[1 - victim]
        assert (ended[victim].code, survivor.code) == (-signal.SIGKILL, 1)
        assert survivor.stderr.splitlines()[-1].startswith("error: ")
        assert survivor.stderr.endswith(GONE + "\n")
        assert step - 2 <= max(saved) <= step
    assert 5 <= step < two_processes.NUM_UPDATES
    state = tiny_training.numbers(tiny_training.run(run_folder, two_processes.NUM_UPDATES, checkpoint_minutes=5.0))
    for name, value in uninterrupted.items():
        assert_close(state[name], value, name)


@pytest.mark.long
def test_a_run_whose_process_was_killed_ends_on_the_same_bits(tmp_path):
    processes = Processes([SCRIPT, "interrupted", tmp_path / "killed"], tmp_path)
    processes.wait_for_lines(tmp_path / "killed" / "metrics.jsonl", 5)
    processes.started[1].kill()
    assert [ended.code for ended in processes.wait()] == [1, -signal.SIGKILL]
    states = []
    for name in ("killed", "uninterrupted"):
        run("finish", tmp_path / name, count=2)
        states.append(np.load(tmp_path / name / "state.npz"))
    assert len(states[0]) > 4 and states[0]["arr_0"] == two_processes.NUM_UPDATES
    for name, expected in states[1].items():
        np.testing.assert_array_equal(states[0][name], expected, err_msg=name)


# Experiments

MINIATURE = (
    "--latent-size 4 --encoder-width 4 --encoder-depth 1 --num-updates 3 --cooldown-updates 0 --report-every 2 "
    "--limit 6 --num-samples 4 --batch-size 8 --hidden-size 4 --num-steps 3 --min-steps 2 --max-steps 4 --pool-size 16 "
    "--num-states 6 --stability-steps 7 --step-counts 2 5 --step-count-images 4 --step-count-samples 2"
)


def experiment(folder: Path, *flags: str, count: int) -> Processes:
    command = ["-m", "experiments.mnist_nondoubling", "--preset", "cpu", "--out", folder / "runs", *flags]
    command += MINIATURE.split()
    return Processes(command, folder, count=count, num_devices=4 // count)


def numbers_in(results: dict) -> dict[str, float]:
    """All measured numbers in results.json, by their place in it."""
    found = {}

    def visit(value, place):
        if isinstance(value, dict | list):
            for key, one in value.items() if isinstance(value, dict) else enumerate(value):
                visit(one, f"{place}/{key}")
        elif isinstance(value, float):
            found[place] = value

    for key in ("recovery", "curves", "iwelbo_by_steps"):
        visit(results[key], key)
    visit(results["evaluation"]["terms"], "terms")
    return found


@pytest.mark.long
def test_an_experiment(tmp_path):
    one, two = (
        experiment(tmp_path / name, *flags, count=count).wait()
        for name, count, flags in (("one", 1, []), ("two", 2, ["--distributed"]))
    )
    assert [ended.code for ended in (*one, *two)] == [0, 0, 0], (one, two)
    assert (two[1].stdout, two[1].stderr) == ("", "")
    run_folders = [tmp_path / name / "runs" / "mnist_nondoubling" / "cpu" for name in ("one", "two")]
    assert_same_metrics(run_folders[1], run_folders[0], 3)
    expected, found = (numbers_in(json.loads((folder / "results.json").read_text())) for folder in run_folders)
    assert expected.keys() == found.keys() and len(found) > 60
    for place, value in expected.items():
        assert_close(found[place], value, place)
    files = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if "tensorboard" not in str(path))
        for folder in run_folders
    ]
    outside = [[name for name in names if not name.startswith("checkpoints")] for names in files]
    assert outside[0] == outside[1] and "figures/samples.png" in outside[0]
    with claim(run_folders[1]):  # as if another command were using it
        refused = experiment(tmp_path / "two", "--distributed", count=2).wait()
    assert [ended.code for ended in refused] == [2, 2]
    sentence = (
        f"The run directory {run_folders[1]} is in use by another process; wait for it, or choose another --name."
    )
    assert refused[0].stderr.splitlines()[-1] == f"error: {sentence}"
    assert refused[1].stderr.splitlines()[-1] == f"error: process 0 of this run has ended: {sentence}"


def test_flags_that_are_refused(tmp_path):
    [alone] = experiment(tmp_path, "--distributed", count=1).wait()
    assert alone.code == 2 and alone.stdout == ""
    expected = "error: --distributed needs JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID in the"
    [line] = alone.stderr.splitlines()
    assert line.startswith(expected)
    assert not (tmp_path / "runs").exists()

"""Every experiment, in miniature, as a user runs it: what it writes, what it says, and what it refuses."""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import ANY

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from PIL import Image

from experiments import cli, mnist_doubling
from vnca_jax import bounds, data
from vnca_jax.checkpoint import import_model
from vnca_jax.train import split_seed

ROOT = Path(__file__).parent.parent
TINY = ["--latent-size", "4", "--encoder-width", "4", "--encoder-depth", "1", "--num-updates", "3"]
TINY += ["--cooldown-updates", "0", "--report-every", "2", "--limit", "6", "--num-samples", "4", "--batch-size", "8"]
TINY_MODEL = {
    "mnist_doubling": "--hidden-size 4 --steps-per-doubling 2 --num-blocks 1",
    "mnist_nondoubling": "--hidden-size 4 --num-steps 3 --min-steps 2 --max-steps 4 --pool-size 16 --num-states 6 "
    "--stability-steps 7 --step-counts 2 5 --step-count-images 4 --step-count-samples 2",
    "mnist_baseline": "",
}
COLOURS = "--dataset coloured_digits --latent-size 12 "
TINY_MODEL |= {
    "celeba_doubling": COLOURS + "--num-doublings 2 " + TINY_MODEL["mnist_doubling"],
    "emoji_doubling": COLOURS + "--num-doublings 2 " + TINY_MODEL["mnist_doubling"],
    "celeba_nondoubling": COLOURS + "--image-size 8 --num-blocks 1 " + TINY_MODEL["mnist_nondoubling"],
    "celeba_baseline": COLOURS + "--image-size 8 --decoder-depth 2",
}
EXPERIMENTS = sorted(TINY_MODEL)


# Less optimized programs compile in half the time, and what a command has compiled the next one reads.
COMPILED = tempfile.TemporaryDirectory()
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "JAX_COMPILATION_CACHE_DIR": COMPILED.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "PYTHONWARNINGS": "",
    "COLUMNS": "200",
}


def call(module: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, args)]
    variables = os.environ | ENVIRONMENT
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def tiny(name: str) -> list[str]:
    return TINY + TINY_MODEL[name].split()


@pytest.fixture(
    scope="module",
    params=[
        "mnist_doubling",
        "mnist_nondoubling",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("mnist_baseline", "celeba_nondoubling", "emoji_doubling")
        ),
    ],
)
def finished(request, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    ended = call(f"experiments.{request.param}", "--out", out, *tiny(request.param))
    assert ended.returncode == 0, ended.stderr
    return request.param, out, ended


def test_every_experiment_is_tested():
    files = (ROOT / "experiments").glob("*_*.py")
    assert sorted(path.stem for path in files if "run.fit(model," in path.read_text()) == EXPERIMENTS


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_shape(name):
    module = importlib.import_module(f"experiments.{name}")
    assert set(module.PRESETS) == {"cpu", "paper"}
    assert f"python -m experiments.{name} --preset paper" in (module.__doc__ or "")


def test_what_a_run_writes(finished):
    name, out, ended = finished
    folder = out / name / "cpu"
    results = json.loads((folder / "results.json").read_text())
    dataset = "digits" if name.startswith("mnist") else "coloured_digits"
    assert (results["experiment"], results["dataset"], results["updates"]) == (name, dataset, 3)
    evaluation = results["evaluation"]
    assert (evaluation["num_samples"], evaluation["num_images"], evaluation["seed"]) == (4, 6, 0)
    nats = {term: value["nats"] for term, value in evaluation["terms"].items()}
    assert nats["elbo"][0] == pytest.approx(nats["log_px_given_z"][0] - nats["kl"][0], abs=1e-4)
    assert nats["iwelbo"][0] > nats["elbo"][0] and all(error > 0 for _, error in nats.values())
    assert f"{nats['iwelbo'][0]:.2f} +- {nats['iwelbo'][1]:.2f}" in ended.stdout
    pictures = sorted((folder / "figures").glob("*.png"))
    assert pictures and all(str(picture) in ended.stdout for picture in pictures)
    for picture in pictures:
        assert len(np.unique(np.asarray(Image.open(picture)))) > 2, picture
    reported = {path.name for path in (folder / "reports").iterdir()}
    damage = {"000002-damage.png"} if name.endswith("nondoubling") else set()
    assert reported == {"000002-samples.png", "000002-reconstructions.png", *damage}
    assert f"All on one page:\n  {folder / 'report.html'}" in ended.stdout
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]


def test_the_same_command_again_changes_nothing(finished):
    name, out, _ = finished
    folder = out / name / "cpu"
    before = {path: (folder / path).read_bytes() for path in ("metrics.jsonl", "model.eqx")}
    first = json.loads((folder / "results.json").read_text())["evaluation"]["terms"]
    assert call(f"experiments.{name}", "--out", out, *tiny(name)).returncode == 0
    assert {path: (folder / path).read_bytes() for path in before} == before
    assert json.loads((folder / "results.json").read_text())["evaluation"]["terms"] == first


def test_evaluation_of_a_run(finished, tmp_path):
    name, out, _ = finished
    folder = out / name / "cpu"
    model, header = import_model(folder)
    assert (header["experiment"], header["step"], model.image_size) == (name, 3, 8)
    args = ["--ckpt", folder, "--limit", 6, "--num-samples", 4]
    ended = call("vnca_jax.eval", *args, "--json", tmp_path / "bounds.json", "--num-devices", 1)
    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "bounds.json").read_text())["terms"]
    expected = json.loads((folder / "results.json").read_text())["evaluation"]["terms"]
    for term, value in expected.items():
        np.testing.assert_allclose(found[term]["nats"], value["nats"], rtol=1e-5)


def test_held_out_images(tmp_path):
    """The report's ELBO is that of every tenth training image, by `bounds.elbo` with the evaluation's noise; the model
    is the moving average, and the table says how the run was trained.
    """
    schedule = "--pool-from 1 --growing-updates 2 --first-min-steps 1 --first-max-steps 2 --warmup-updates 2"
    schedule += " --ema-decay 0.9 --hold-out --report-every 3 --beta-updates 2"
    ended = call("experiments.mnist_nondoubling", "--out", tmp_path, *tiny("mnist_nondoubling"), *schedule.split())
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "mnist_nondoubling" / "cpu"
    [report] = [json.loads(line) for line in (folder / "reports.jsonl").read_text().splitlines()]
    model, _ = import_model(folder)
    images = data.load("digits").train[9::10]
    key = split_seed(0).evaluate
    keys = [jr.fold_in(jr.fold_in(key, i), 0) for i in range(len(images))]
    noise = np.stack([jr.normal(key, (model.latent_size,)) for key in keys])
    elbos = np.asarray(bounds.elbo(model, jnp.asarray(images, jnp.float32), jnp.asarray(noise)).elbo, np.float64)
    error = elbos.std(ddof=1) / np.sqrt(len(images))
    assert report == {"step": 3, "held_out_elbo": pytest.approx(elbos.mean(), rel=1e-5), "held_out_elbo_error": ANY}
    assert report["held_out_elbo_error"] == pytest.approx(error, rel=1e-5)
    assert call("experiments.table", "--runs", tmp_path, "--out", tmp_path).returncode == 0
    table = (tmp_path / "table.csv").read_text()
    for words in ("no validation images in training", "the pool from update 1 on", "moving average 0.9"):
        assert words in table


@pytest.mark.slow
def test_start_from_a_model(tmp_path):
    """A run that starts from another one's model and learns nothing ends with that model; it keeps a copy of it."""
    first = [*tiny("mnist_baseline"), "--out", tmp_path, "--num-updates", "1", "--ema-decay", "0.5"]
    assert call("experiments.mnist_baseline", *first, "--name", "first").returncode == 0
    start = tmp_path / "mnist_baseline" / "first" / "model.eqx"
    second = [*first, "--start-from", start, "--learning-rate", "1e-30"]
    ended = call("experiments.mnist_baseline", *second)
    assert ended.returncode == 0, ended.stderr
    (before, header), (after, _) = import_model(start), import_model(tmp_path / "mnist_baseline" / "cpu")
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(one, other)
    results = json.loads((tmp_path / "mnist_baseline" / "cpu" / "results.json").read_text())
    assert results["started_from"] == {
        "experiment": "mnist_baseline",
        "step": 1,
        "updates": 1,
        "sha256": header["sha256"],
    }
    assert import_model(tmp_path / "mnist_baseline" / "cpu")[1]["updates_before"] == 1
    start.unlink()  # a run that is resumed no longer needs it
    assert call("experiments.mnist_baseline", *second, "--num-updates", "2").returncode == 0


REFUSALS = [
    (["--start-from", "nowhere.eqx"], "There is no file nowhere.eqx"),
    (["--start-from", "pretrained:mnist_baseline_small"], "a ConvVAE, but this experiment trains a DoublingVNCA"),
    (["--start-from", "pretrained:mnist_doubling_small"], "--encoder-depth 4, not 2; give the sizes"),
    (["--dataset", "coloured_digits"], "have 3 channels, but --image-channels is 1 and --num-mixtures 0: give 3 and 1"),
    (["--image-channels", "3"], "is digits, whose pixels have 1 channel, but --image-channels is 3 and"),
    (["--hold-out", "yes"], "yes"),
    (["--batch-size", "0"], "--batch-size is 0, but must be positive"),
    (["--latent-size", "-1"], "--latent-size is -1, but must be at least 1."),
    (["--dataset", "digit"], "did you mean 'digits'"),
    (["--batch-size", "30", "--num-devices", "4"], "multiple of the number of devices, 4"),
    (["--num-devices", "9"], "9 devices were asked for"),
    (["--dataset", "binarized_mnist", "--num-doublings", "4", "--data-dir", "/nowhere"], "/nowhere"),
    (["--out", "/proc/runs"], "/proc/runs"),
]


@pytest.mark.parametrize(("args", "sentence"), REFUSALS, ids=[" ".join(args) for args, _ in REFUSALS])
def test_refusals(args, sentence, tmp_path, monkeypatch, capsys):
    flags = ["--out", str(tmp_path / "runs"), "--num-updates", "1", "--cooldown-updates", "0", *args]
    monkeypatch.setattr(sys, "argv", ["mnist_doubling", *flags])
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices()[:1] * 4)
    with pytest.raises(SystemExit) as ended:
        cli.main("experiments.mnist_doubling", mnist_doubling.__doc__, mnist_doubling.PRESETS, mnist_doubling.main)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
    assert not (tmp_path / "runs").exists()


def test_another_config(finished):
    name, out, _ = finished
    ended = call(f"experiments.{name}", "--out", out, *tiny(name), "--seed", "1")
    assert ended.returncode == 2
    assert "with --seed 0, and now --seed 1 is asked for" in ended.stderr


@pytest.mark.parametrize("flags", [["--latent-sise", "4"], ["--preset", "papr"]])
def test_unknown_flags(flags):
    ended = call("experiments.mnist_doubling", *flags)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr

"""benchmarks/reproduce_mnist.sh in miniature: stopped, resumed from a copy of its folder, and packed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLAGS = (
    "--num-updates 12 --cooldown-updates 0 --checkpoint-minutes 0 --report-every 100 --num-samples 2 --limit 4 "
    "--latent-size 4 --batch-size 16 --encoder-width 4 --encoder-depth 1"
)


def call(runs: Path, minutes: str, **variables: str) -> int:
    settings = {"RUNS": str(runs), "MINUTES": minutes, "PRESET": "cpu", "FLAGS": FLAGS, "PYTHON": sys.executable}
    settings |= {"EXPERIMENTS": "mnist_doubling mnist_baseline"} | variables
    script = ["bash", str(ROOT / "benchmarks" / "reproduce_mnist.sh")]
    return subprocess.run(script, env=os.environ | settings, capture_output=True, check=False).returncode


@pytest.mark.long
def test_in_chunks(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "accelerator.json").write_text("{}")  # the benchmark has been run
    assert call(runs, "0") == 75 and not (runs / "mnist_doubling").exists()
    assert call(runs, "0.001") == 75  # time for one device call
    elsewhere = tmp_path / "elsewhere"
    shutil.move(runs, elsewhere)
    steps = (elsewhere / "mnist_doubling" / "cpu" / "metrics.jsonl").read_text().count("\n")
    assert 0 < steps < 12 and not (elsewhere / "mnist_doubling" / "cpu" / "done").exists()
    assert call(elsewhere, "5", PACK=str(tmp_path / "packed")) == 0
    for experiment in ("mnist_doubling", "mnist_baseline"):
        assert json.loads((elsewhere / experiment / "cpu" / "results.json").read_text())["updates"] == 12
    unpack = f"cat {tmp_path}/packed/results.tar.* | tar --list --gzip"
    names = subprocess.run(unpack, shell=True, capture_output=True, text=True, check=True).stdout
    assert "mnist_doubling/cpu/model.eqx" in names and "mnist_baseline/cpu/results.json" in names
    assert "checkpoints" not in names
    assert call(elsewhere, "0") == 0  # nothing is left to do


def test_a_failing_experiment_ends_the_script(tmp_path):
    (tmp_path / "accelerator.json").write_text("{}")
    assert call(tmp_path, "1", EXPERIMENTS="mnist_tripling") == 1

"""Sizes that do not fit are named by their flags, before any data are loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOWHERE = ("--data-dir", "/nowhere", "--out", "/nowhere/runs")
TOO_SMALL = (
    "binarized_mnist has images of 28x28 pixels, which cannot be centred in 16x16: choose a size of at least 28 that "
    "differs from it by an even number."
)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("mnist_doubling --preset paper --num-doublings 3", "--num-doublings is 3: " + TOO_SMALL),
        ("mnist_baseline --preset paper --image-size 16", "--image-size is 16: " + TOO_SMALL),
        ("mnist_doubling --preset paper --latent-size 0", "--latent-size is 0, but must be at least 1."),
        ("mnist_nondoubling --preset paper --pool-size 7 --num-devices 1", "--pool-size is 7, but must be above half "
         "the batch, 64, to be drawn from."),
        ("mnist_nondoubling --preset paper --hidden-size -1", "--hidden-size is -1, but must be at least 1."),
    ],
)  # fmt: skip
def test_sizes(command, sentence):
    experiment, *flags = command.split()
    command = [sys.executable, "-m", f"experiments.{experiment}", *flags, *NOWHERE]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, f"error: {sentence}\n")

"""What tests/test_processes.py starts, in one process or several: `python tests/two_processes.py FUNCTION FOLDER`."""

import json
import os
import sys
from pathlib import Path

import eight_devices
import jax
import numpy as np
import tiny_training

from vnca_jax import joining, parallel, processes, train
from vnca_jax.data import stream
from vnca_jax.errors import reported
from vnca_jax.eval import evaluate

NUM_UPDATES = 200  # of a run that is interrupted


def compare(folder: Path) -> None:
    """Trains and evaluates on eight devices."""
    eight_devices.train_vnca(folder / "vnca", 8)
    resident_bytes, stream.DEVICE_BYTES["cpu"] = stream.DEFAULT_DEVICE_BYTES, 0
    tiny_training.run(folder / "streamed", 3, num_devices=8)
    stream.DEVICE_BYTES["cpu"] = resident_bytes
    model, images = tiny_training.tiny_vnca(), tiny_training.IMAGES[:13, 2:6, 2:6]
    evaluation = evaluate(model, images, num_samples=6, seed=3, mesh=parallel.make_mesh()).as_json()
    if processes.is_first():
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
    print("what the first one prints")


def pooled(folder: Path) -> None:
    """Goes on for three updates of a non-doubling VNCA with its pool."""
    checkpoints = folder / "pooled" / "checkpoints"
    step = max((int(path.name) for path in checkpoints.glob("*")), default=0)
    state = tiny_training.fit_pooled(folder / "pooled", step + 3, num_devices=8)
    assert int(state.step) == step + 3


def interrupted(folder: Path) -> None:
    """A checkpoint for each update, so that there is time to end a process."""
    train.SECONDS_PER_CALL = 0
    tiny_training.run(folder, NUM_UPDATES, num_devices=8)


def finish(folder: Path) -> None:
    """Goes on to the end, and leaves the last state."""
    state = tiny_training.run(folder, NUM_UPDATES, num_devices=8, checkpoint_minutes=5.0)
    arrays = parallel.fetch(jax.tree.leaves((state.step, state.model, state.opt_state, state.carry)))
    if processes.is_first():
        np.savez(folder / "state.npz", *arrays)


def main(function: str, folder: Path) -> None:
    """Runs `function`, as the first process where there are no others."""
    joining.HEARTBEAT_SECONDS = 10
    parallel.use_all_cores()
    with reported(), joining.joined("JAX_NUM_PROCESSES" in os.environ):
        {"compare": compare, "pooled": pooled, "interrupted": interrupted, "finish": finish}[function](folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

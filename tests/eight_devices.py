"""What tests/test_eight_devices.py starts with eight CPU devices: `python tests/eight_devices.py FOLDER FUNCTION`."""

import json
import runpy
import sys
from pathlib import Path

import tiny_training

from vnca_jax import parallel
from vnca_jax.data import stream
from vnca_jax.errors import InputError
from vnca_jax.eval import evaluate
from vnca_jax.losses import elbo_loss
from vnca_jax.train import TrainConfig, fit


def train_vnca(folder: Path, num_devices: int):
    """A few updates of a doubling VNCA."""
    folder.mkdir(exist_ok=True)
    return fit(
        tiny_training.tiny_vnca(),
        elbo_loss(),
        tiny_training.IMAGES[:, 2:6, 2:6],
        config=TrainConfig(num_updates=4, batch_size=8, learning_rate=1e-2),
        mesh=parallel.make_mesh(num_devices),
        directory=folder,
    )


def sentence_of(call, error_type: type[BaseException] = InputError) -> str:
    try:
        call()
    except error_type as error:
        return str(error)
    return "nothing was raised"


def main(folder: Path) -> None:
    """Trains and evaluates on several numbers of devices, and leaves what came out in `folder`."""
    for num_devices in (1, 2, 4, 8):
        train_vnca(folder / f"vnca_{num_devices}", num_devices)
    tiny_training.run(folder / "carry", 3, num_devices=8)
    resident_bytes, stream.DEVICE_BYTES["cpu"] = stream.DEFAULT_DEVICE_BYTES, 0
    tiny_training.run(folder / "streamed", 3, num_devices=8)
    stream.DEVICE_BYTES["cpu"] = resident_bytes
    model, images = tiny_training.tiny_vnca(), tiny_training.IMAGES[:5, 2:6, 2:6]
    evaluation = evaluate(model, images, num_samples=6, seed=3, mesh=parallel.make_mesh()).as_json()
    sentences = {
        "fit": sentence_of(lambda: tiny_training.run(folder / "30", 3, num_devices=8, batch_size=30)),
        "mesh": sentence_of(lambda: parallel.make_mesh(9)),
    }
    sys.argv = ["mnist_doubling", "--batch-size", "30", "--out", str(folder / "runs")]
    experiment = tiny_training.ROOT / "experiments" / "mnist_doubling.py"
    exit_code = sentence_of(lambda: runpy.run_path(str(experiment), run_name="__main__"), SystemExit)
    found = {"evaluation": evaluation, "sentences": sentences, "exit_code": exit_code}
    (folder / "found.json").write_text(json.dumps(found))


def train_pooled(folder: Path) -> None:
    """A few updates of a non-doubling VNCA with its pool on several numbers of devices."""
    for num_devices in (1, 2, 4, 8):
        tiny_training.fit_pooled(folder / f"pooled_{num_devices}", 5, num_devices=num_devices)


if __name__ == "__main__":
    {"main": main, "train_pooled": train_pooled}[sys.argv[2]](Path(sys.argv[1]))

"""Puts a trained model among those that come with the project, in half the bytes if its bound stays the same.

    python -m experiments.release --run runs/mnist_doubling/paper --name mnist_doubling

Rounds the numbers to float16, takes the IWELBO of the same test images and samples before and after, and refuses
where the mean differs by more than 0.01 nats, or for colours by more than 0.0001 bits per dimension.
"""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import tyro

from vnca_jax import backend, bounds, compute, data, parallel, paths, pretrained_models
from vnca_jax.checkpoint import export_model, import_model
from vnca_jax.compilation import keep_compiled
from vnca_jax.errors import InputError, reported
from vnca_jax.eval import evaluate
from vnca_jax.writing import write_json

TOLERANCE_NATS, TOLERANCE_BITS = 0.01, 0.0001  # per binary image, and per dimension of a coloured one
FACTS = ("dataset", "step", "experiment")


@dataclasses.dataclass(frozen=True)
class Options:
    """Which run, and under which name."""

    run: Path
    """The run's directory, with model.eqx and results.json."""
    name: str
    """Name of the model; one that is smaller than the paper's ends in _small."""
    limit: int = 100
    """Test images, evenly spread, whose bound is compared."""
    num_samples: int = 128
    """Importance samples per image."""
    data_dir: Path | None = None
    """Folder with the dataset's official files; None looks in $VNCA_DATA_DIR, then /kaggle/input."""
    pretrained: Path = pretrained_models.FOLDER
    """Folder of the models that come with the project."""


def main(options: Options) -> None:
    """Compares, writes the files and their checksums."""
    exactly = compute.choose(dtype="float32")
    model, header = import_model(options.run, compute=exactly)
    if not paths.exists(options.run / "results.json"):
        raise InputError(f"{options.run} has no results.json; release a run that has been evaluated.")
    folder = options.pretrained / options.name
    results = json.loads(paths.read_text(options.run / "results.json"))
    facts = {fact: header.get(fact) for fact in FACTS}
    facts["updates_before"] = results.get("started_from", {}).get("updates", 0)
    export_model(folder / "model.eqx", model, storage="float16", **facts)
    rounded, _ = import_model(folder, compute=exactly)
    dataset = data.load_padded(header["dataset"], model.image_size, data_dir=options.data_dir)
    images, mesh = dataset.some_test_images(options.limit), parallel.make_mesh()
    before, after = (
        evaluate(one, images, num_samples=options.num_samples, seed=0, mesh=mesh).terms["iwelbo"][0]
        for one in (model, rounded)
    )
    _, height, width, channels = images.shape
    change, tolerance = after - before, tolerance_nats((height, width, channels))
    print(f"IWELBO of {len(images)} images: {before:.4f} nats, rounded {after:.4f}")
    if abs(change) > tolerance:
        shutil.rmtree(folder)
        raise InputError(
            f"Rounding {options.run} to float16 moves its bound by {change:.4f} nats, more than {tolerance:.4f}."
        )
    results["release"] = {"storage": "float16", "change_of_iwelbo_nats": change, "num_images": len(images)}
    write_json(folder / "results.json", results)
    files = sorted(path for path in options.pretrained.glob("*/*") if path.is_file())
    digests = {str(p.relative_to(options.pretrained)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    write_json(options.pretrained / "checksums.json", digests)
    print(f"{folder}: {(folder / 'model.eqx').stat().st_size:,} bytes")


def tolerance_nats(image_shape: tuple[int, int, int]) -> float:
    """How far the bound of an image `(h, w, channels)` may move: the last digit that is shown of it, in nats."""
    colours = image_shape[-1] > 1
    return TOLERANCE_BITS / -bounds.bits_per_dimension(1.0, image_shape) if colours else TOLERANCE_NATS


if __name__ == "__main__":
    parallel.use_all_cores()
    keep_compiled()
    with reported():
        backend.check()
        main(paths.expanded_in(tyro.cli(Options, prog="python -m experiments.release", description=__doc__)))

"""Labels of binarized MNIST's test images, which come without: those of the MNIST images they were drawn from.

    python -m experiments.mnist_labels --data-dir DIR

Each binary image gets the grey image of maximal likelihood, each grey image used once (vnca_jax.data.matching). On the
official files, in 8 to 17 seconds on two busy cores: 6,464 of the 10,000 images are impossible under all grey images
but one; of the others the smallest margin is 0.05 nats. The likeliest grey images alone collide in 8 places, all of
them ones, so that no label depends on it. The recovered labels ascend along the official file, which is sorted by
digit; the matching knows nothing of that.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import UInt8

from experiments.cli import command_of, print_pictures, versions
from vnca_jax import data, figures, paths
from vnca_jax.data import mnist
from vnca_jax.data.matching import Matching, match
from vnca_jax.errors import InputError, reported
from vnca_jax.run_directory import claim
from vnca_jax.writing import write_json, write_text

PICTURED = 16  # pairs


@dataclasses.dataclass(frozen=True)
class Options:
    """Matches binarized MNIST's test images with MNIST's."""

    data_dir: Path | None = None
    """Folder with the official files of both; None looks in $VNCA_DATA_DIR, then /kaggle/input."""
    out: Path = Path("runs")
    """Folder of all runs; the results go to <out>/mnist_labels."""


def main(options: Options) -> None:
    """Matches, prints the table, writes results.json, test_labels.csv and the least certain pairs as a picture."""
    binary = data.load("binarized_mnist", data_dir=options.data_dir).test
    source = mnist.read("test", data_dir=options.data_dir, download=True)
    if source is None:
        raise InputError(f"MNIST was not found: {mnist.where_to_put('test')}")
    started = time.perf_counter()
    matching = match(binary.reshape(len(binary), -1), source.images.reshape(len(source.images), -1))
    seconds = time.perf_counter() - started
    labels = source.labels[matching.index]
    facts = facts_of(matching, labels) | {"seconds": round(seconds, 1)}
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<42}{as_words(value)}")
    directory = options.out / "mnist_labels"
    with claim(directory):
        about = {"analysis": "mnist_labels", **facts, "command": command_of("mnist_labels"), "versions": versions()}
        write_json(directory / "results.json", about)
        write_csv(directory / "test_labels.csv", matching, labels)
        least_certain = np.argsort(matching.margin, kind="stable")[:PICTURED]
        chosen = source.images[matching.index[least_certain], ..., None]
        path = directory / "figures" / "least_certain.png"
        figures.reconstructions(path, binary[least_certain].astype(np.float32), chosen.astype(np.float32) / 255)
    print(f"\nLabels: {directory / 'test_labels.csv'}")
    print_pictures([path])


def as_words(value: Any) -> str:
    """A value of the table: numbers to four digits, truths as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def facts_of(matching: Matching, labels: UInt8[np.ndarray, " n"]) -> dict[str, Any]:
    """What the table and results.json say; margins in nats."""
    possible = np.isfinite(matching.margin)  # those with a runner-up
    margins = matching.margin[possible]
    return {
        "images": len(labels),
        "images_of_each_digit": np.bincount(labels, minlength=10).tolist(),
        "images_possible_under_one_grey_image_only": int((~possible).sum()),
        "smallest_margin": float(margins.min()) if len(margins) else None,
        "median_margin_of_the_others": float(np.median(margins)) if len(margins) else None,
        "ties": matching.num_tied,
        "duplicate_binary_images": matching.duplicate_binary,
        "duplicate_grey_images": matching.duplicate_grey,
        "likeliest_is_one_to_one": matching.is_one_to_one,
        "moved_to_make_it_one_to_one": int(matching.moved.sum()),
        "labels_in_ascending_order": bool((np.diff(labels.astype(int)) >= 0).all()),
        "mean_log_likelihood": float(matching.log_likelihood.mean()),
    }


def write_csv(path: Path, matching: Matching, labels: UInt8[np.ndarray, " n"]) -> None:
    """index,label,mnist_index,margin: a line for each binary image in the order of its file."""
    columns = zip(labels, matching.index, matching.margin, strict=True)
    lines = [f"{i},{label},{index},{margin:.6g}" for i, (label, index, margin) in enumerate(columns)]
    write_text(path, "\n".join(["index,label,mnist_index,margin", *lines]) + "\n")


if __name__ == "__main__":
    with reported():
        main(paths.expanded_in(tyro.cli(Options, prog="python -m experiments.mnist_labels", description=__doc__)))

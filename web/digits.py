"""The strip of test digits of the page: `python web/digits.py --manifest MANIFEST --out FILE`.

They come from the dataset the model was trained on, where its files are found (nothing is fetched); else no file is
written, and the page draws digits of its own. The images are not part of the project.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from vnca_jax import data
from vnca_jax.errors import InputError, reported
from vnca_jax.writing import write_json

COUNT = 20
LABELS = {"binarized_mnist": "MNIST test digits"}


@dataclass(frozen=True)
class Options:
    """Writes a strip of test images."""

    manifest: Path
    """The manifest of the exported model."""
    out: Path
    """The JSON file to write."""
    data_dir: Path | None = None
    """Folder with the dataset's official files; None looks where the commands look."""


def main(options: Options) -> None:
    """Writes COUNT images, evenly spread over the test set: eight binary pixels a byte, in base64."""
    name = json.loads(options.manifest.read_text()).get("dataset")
    options.out.unlink(missing_ok=True)
    try:
        dataset = data.load(name, data_dir=options.data_dir, download=False)
    except InputError as error:
        print(f"The page shows digits drawn by hand, since there are no test images: {error}")
        return
    images = dataset.some_test_images(COUNT)
    if images.shape[1] != images.shape[2] or images.shape[3] != 1 or images.max() > 1:
        print(f"The page shows digits drawn by hand, since {name} has no square binary images.")
        return
    texts = [base64.b64encode(np.packbits(image).tobytes()).decode() for image in images]
    write_json(
        options.out, {"source": LABELS.get(name, f"Test images ({name})"), "side": images.shape[1], "images": texts}
    )


if __name__ == "__main__":
    with reported():
        main(tyro.cli(Options, prog="python web/digits.py", description=Options.__doc__))

"""MNIST (LeCun, Cortes & Burges, 1998): 60,000 training and 10,000 test images of 28x28 grey pixels, with labels."""

from pathlib import Path

from vnca_jax.data.mnist_files import Labelled, MnistFiles, Split, read_split, what_to_do

MNIST = MnistFiles(
    name="mnist",
    subfolders=("mnist", "raw", "MNIST", "MNIST/raw"),
    url="https://storage.googleapis.com/cvdf-datasets/mnist",
    sha256={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    zipped_sha256={
        "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    sums={"train": (1_567_298_545, 267_236), "test": (264_923_200, 44_434)},
)


def read(
    split: Split, *, data_dir: Path | None = None, cache_dir: Path | None = None, download: bool = False
) -> Labelled | None:
    """Images and labels of a split; None where it is not at hand and not to be downloaded (mnist_files.read_split)."""
    return read_split(MNIST, split, data_dir=data_dir, cache_dir=cache_dir, download=download)


def where_to_put(*splits: Split) -> str:
    """What a user should do who lacks these splits, as the end of a sentence."""
    return what_to_do(MNIST, *splits)

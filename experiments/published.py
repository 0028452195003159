"""The published numbers that ours stand beside, as facts with their sources.

Paper: Palm et al., ICLR 2022, arXiv 2201.12360; bounds on the test set with 128 importance samples. Reproduction:
Aillet and Sondén, "[Re] Variational Neural Cellular Automata", ML Reproducibility Challenge 2022, on binarized MNIST
only; the first of its numbers is that of its repository's README, the second that of its report.
"""

import dataclasses
from typing import Any, Literal

MNIST_TEST_IMAGES = 10_000  # the official test file
CELEBA_TEST_IMAGES = 19_962  # the dataset's official partition
EMOJI_TEST_IMAGES = 531  # the paper's 20 % of 2,656 emojis
DIGITS_TEST_IMAGES = 360  # a fifth of scikit-learn's 1,797


@dataclasses.dataclass(frozen=True)
class Published:
    """One number of the paper or the reproduction, digits as printed there, and which experiment makes it here."""

    experiment: str
    """Module of experiments/."""
    model: str
    data: str
    unit: Literal["nats", "bpd"]
    """nats: log p(x), higher is better. bpd: bits per dimension, lower is better."""
    paper: str | None
    num_test_images: int
    source: str
    """Where the paper has it."""
    reproduction: tuple[str, ...] = ()
    flags: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Flags over those of the experiment's paper preset."""


PUBLISHED = (
    Published(
        *("mnist_doubling", "doubling VNCA", "static binarized MNIST, 32x32", "nats"),
        paper="-84.23",
        reproduction=("-83.56", "-84.15"),
        num_test_images=MNIST_TEST_IMAGES,
        source="Fig. 3",
    ),
    Published(
        *("mnist_nondoubling", "non-doubling VNCA", "static binarized MNIST, 28x28", "nats"),
        paper="-90.97",
        reproduction=("-87.92", "-89.3"),
        num_test_images=MNIST_TEST_IMAGES,
        source="text beside Fig. 9",
    ),
    Published(
        *("mnist_baseline", "convolutional baseline", "static binarized MNIST, 28x28", "nats"),
        paper=None,
        reproduction=("-83.88", "-84.64"),
        num_test_images=MNIST_TEST_IMAGES,
        source="Fig. 5 and appendix A.6, without a number",
    ),
    Published(
        *("celeba_doubling", "doubling VNCA", "CelebA, 64x64", "bpd"),
        paper="4.42",
        num_test_images=CELEBA_TEST_IMAGES,
        source="Fig. 6",
    ),
    Published(
        *("celeba_doubling", "doubling VNCA, beta = 100", "CelebA, 64x64", "bpd"),
        paper="5.40",
        num_test_images=CELEBA_TEST_IMAGES,
        source="Fig. 7",
        flags={"beta": 100.0},
    ),
    Published(
        *("celeba_nondoubling", "non-doubling VNCA", "CelebA, 32x32", "bpd"),
        paper="5.03",
        num_test_images=CELEBA_TEST_IMAGES,
        source="text beside Fig. 10",
    ),
    Published(
        *("celeba_baseline", "convolutional baseline", "CelebA, 64x64", "bpd"),
        paper=None,
        num_test_images=CELEBA_TEST_IMAGES,
        source="appendix A.1, without a number",
    ),
    Published(
        *("emoji_doubling", "doubling VNCA", "Noto emoji, 64x64", "bpd"),
        paper="3.09",
        num_test_images=EMOJI_TEST_IMAGES,
        source="appendix A.4, Fig. 13",
    ),
)

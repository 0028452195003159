"""A dataset as tensorflow-datasets has prepared it, in its own shuffled order."""

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped
from tqdm import tqdm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TfdsCopy:
    """Where the copy lies, and its arrays by split and feature."""

    folder: str
    splits: dict[str, dict[str, Shaped[np.ndarray, "n ..."]]]


@dataclass(frozen=True)
class TfdsExamples:
    """Where the copy lies, and its examples by split, each of which is read when it is asked for."""

    folder: str
    splits: dict[str, Sequence[Any]]


def read(name: str, splits: list[str], features: list[str]) -> TfdsCopy | None:
    """The examples of each split; None without tensorflow-datasets, or a copy that it has prepared and can read."""
    found = examples(name, splits)
    if found is None:
        return None
    try:
        arrays = {}
        for split, source in found.splits.items():
            rows = [[example[key] for key in features] for example in tqdm(source, desc=f"{name} {split} from TFDS")]
            columns = zip(*rows, strict=True)
            arrays[split] = {key: np.stack(column) for key, column in zip(features, columns, strict=True)}
    except Exception as error:  # of many types (files of another format, a missing decoder); other ways remain
        logger.warning("The tensorflow-datasets copy of %s cannot be read: %s", name, error)
        return None
    return TfdsCopy(found.folder, arrays)


def examples(name: str, splits: list[str]) -> TfdsExamples | None:
    """As `read`, for copies that are larger than memory: nothing but the number of examples is read here."""
    if importlib.util.find_spec("tensorflow_datasets") is None:
        return None
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder(name)
        if not builder.is_prepared():
            return None
        sources = builder.as_data_source(split=splits)  # pyright: ignore[reportCallIssue]
        return TfdsExamples(str(builder.data_dir), dict(zip(splits, sources, strict=True)))
    except Exception as error:  # of many types (files of another format, a missing decoder); other ways remain
        logger.warning("The tensorflow-datasets copy of %s cannot be read: %s", name, error)
        return None

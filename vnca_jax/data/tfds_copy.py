"""A dataset as tensorflow-datasets has prepared it, in its own shuffled order."""

import importlib.util
import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from tqdm import tqdm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TfdsCopy:
    """Where the copy lies, and its arrays by split and feature."""

    folder: str
    splits: dict[str, dict[str, Shaped[np.ndarray, "n ..."]]]


def read(name: str, splits: list[str], features: list[str]) -> TfdsCopy | None:
    """The examples of each split; None without tensorflow-datasets, or a copy that it has prepared and can read."""
    if importlib.util.find_spec("tensorflow_datasets") is None:
        return None
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder(name)
        if not builder.is_prepared():
            return None
        sources = builder.as_data_source(split=splits)  # pyright: ignore[reportCallIssue]
        arrays = {}
        for split, source in zip(splits, sources, strict=True):
            examples = [
                [example[key] for key in features] for example in tqdm(source, desc=f"{name} {split} from TFDS")
            ]
            columns = zip(*examples, strict=True)
            arrays[split] = {key: np.stack(column) for key, column in zip(features, columns, strict=True)}
    except Exception as error:  # of many types (files of another format, a missing decoder); other ways remain
        logger.warning("The tensorflow-datasets copy of %s cannot be read: %s", name, error)
        return None
    return TfdsCopy(str(builder.data_dir), arrays)

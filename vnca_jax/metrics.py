"""What a training run says of itself: metrics.jsonl, TensorBoard events and a progress bar."""

import json
import math
import os
from pathlib import Path
from typing import IO

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from vnca_jax.errors import InputError


class Metrics:
    """The terms of every update: a line in metrics.jsonl, and means of several in TensorBoard and the progress bar."""

    def __init__(self, directory: Path, *, step: int, num_updates: int):
        """Goes on at `step`: lines of later steps, left by a run that was killed, are dropped."""
        self._path = directory / "metrics.jsonl"
        self._drop_after(step)
        self._file: IO[str] = open(self._path, "a")  # noqa: SIM115 (closed by `close`)
        self._events = SummaryWriter(str(directory / "tensorboard"), purge_step=step)
        self._bar = tqdm(total=num_updates, initial=step, unit="update", dynamic_ncols=True, smoothing=0.1)

    def add(self, first_step: int, terms: dict[str, np.ndarray], seconds: float) -> None:
        """Records the terms of consecutive updates that took `seconds` together; the first made step `first_step`."""
        num_updates = len(next(iter(terms.values())))
        terms = {**terms, "seconds": np.full(num_updates, seconds / num_updates)}
        for i in range(num_updates):
            values = {name: round(float(value[i]), 6) for name, value in terms.items()}
            self._file.write(json.dumps({"step": first_step + i, **values}) + "\n")
        self._file.flush()
        last_step = first_step + num_updates - 1
        for name, value in terms.items():
            self._events.add_scalar(name, float(value.mean()), last_step)
        self._bar.update(num_updates)
        self._bar.set_postfix_str(f"loss {terms['loss'].mean():.2f} nats")

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.close()
        self._events.close()
        self._file.close()

    def _drop_after(self, step):
        if not self._path.exists():
            return
        kept = [line for line in self._path.read_text().splitlines(keepends=True) if _step(line) <= step]
        temporary = self._path.with_name(".metrics.jsonl.tmp")
        temporary.write_text("".join(kept))
        os.replace(temporary, self._path)


def read(path: Path) -> dict[str, np.ndarray]:
    """The columns of a metrics.jsonl, by name; raises InputError if there is none."""
    if not path.exists():
        raise InputError(f"There is no file {path}; give the metrics.jsonl of a run directory.")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _step(line):
    """The step of a line, infinite for one that a killed process left unfinished."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return math.inf

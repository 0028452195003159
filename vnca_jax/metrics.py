"""What a training run says of itself: metrics.jsonl, reports.jsonl, TensorBoard events and a progress bar."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from vnca_jax import paths
from vnca_jax.errors import InputError
from vnca_jax.events import EventFile

METRICS = "metrics.jsonl"  # an update per line
REPORTS = "reports.jsonl"  # a report per line
HELD_OUT = "held_out_elbo"  # nats


class Metrics:
    """The terms of every update: a line in metrics.jsonl, and means of several in TensorBoard and the progress bar.

    What is measured at a report, the held-out ELBO, goes to reports.jsonl, TensorBoard and the bar.
    All is written at once and by the caller's thread, so that `add` raises InputError if the disk does not take it.
    """

    def __init__(self, directory: Path, *, step: int, num_updates: int):
        """Goes on at `step`: lines of later steps, left by a run that was killed, are dropped."""
        self._directory = directory
        with self._disk_errors_reported():
            for name in (METRICS, REPORTS):
                _drop_after(directory / name, step)
            self._file: IO[str] = open(directory / METRICS, "a")  # noqa: SIM115 (closed by `close`)
            (directory / "tensorboard").mkdir(exist_ok=True)
            self._events = EventFile(directory / "tensorboard", step)
        self._reported = ""
        self._bar = tqdm(total=num_updates, initial=step, unit="update", dynamic_ncols=True, smoothing=0.1)

    def add(self, first_step: int, terms: dict[str, np.ndarray], seconds: float) -> None:
        """Records the terms of consecutive updates that took `seconds` together; the first made step `first_step`."""
        num_updates = len(next(iter(terms.values())))
        terms = {**terms, "seconds": np.full(num_updates, seconds / num_updates)}
        scalars = {name: float(value.mean()) for name, value in terms.items()}
        last_step = first_step + num_updates - 1
        with self._disk_errors_reported():
            for i in range(num_updates):
                values = {name: round(float(value[i]), 6) for name, value in terms.items()}
                self._file.write(json.dumps({"step": first_step + i, **values}) + "\n")
            self._file.flush()
            self._events.add(last_step, scalars)
        self._bar.update(num_updates)
        self._bar.set_postfix_str(f"loss {terms['loss'].mean():.2f} nats{self._reported}")

    def add_report(self, step: int, values: dict[str, float]) -> None:
        """Records what was measured at the report of `step`."""
        with self._disk_errors_reported():
            with open(self._directory / REPORTS, "a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            self._events.add(step, values)
        if HELD_OUT in values:
            self._reported = f", held-out ELBO {values[HELD_OUT]:.2f}"

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.close()
        for file in (self._events, self._file):
            with contextlib.suppress(OSError):  # of what `add` has already failed to write
                file.close()

    @contextlib.contextmanager
    def _disk_errors_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"The metrics cannot be written in {self._directory} ({paths.reason(error)}); "
                f"{paths.remedy_of_writing(error)} and start again with the same command."
            ) from error


def read(path: Path) -> dict[str, np.ndarray]:
    """The columns of a metrics.jsonl, by name; raises InputError if there is none."""
    if not paths.exists(path):
        raise InputError(f"There is no file {path}; give the metrics.jsonl of a run directory.")
    rows = [json.loads(line) for line in paths.read_text(path).splitlines()]
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _drop_after(path, step):
    """Cuts the file before the first line that is of a later step or unfinished; this takes no space on the disk."""
    if not path.exists():
        return
    size = 0
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n") or _step(line) > step:
                break
            size += len(line)
    os.truncate(path, size)


def _step(line):
    """The step of a line, infinite for one that is damaged."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf

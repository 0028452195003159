"""What a training run says of itself: metrics.jsonl, reports.jsonl, TensorBoard events and a progress bar."""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tqdm import tqdm

from vnca_jax.errors import InputError

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
            self._events = _start_events(directory / "tensorboard", step)
        self._reported = ""
        self._bar = tqdm(total=num_updates, initial=step, unit="update", dynamic_ncols=True, smoothing=0.1)

    def add(self, first_step: int, terms: dict[str, np.ndarray], seconds: float) -> None:
        """Records the terms of consecutive updates that took `seconds` together; the first made step `first_step`."""
        num_updates = len(next(iter(terms.values())))
        terms = {**terms, "seconds": np.full(num_updates, seconds / num_updates)}
        scalars = [Summary.Value(tag=name, simple_value=float(value.mean())) for name, value in terms.items()]
        last_step = first_step + num_updates - 1
        with self._disk_errors_reported():
            for i in range(num_updates):
                values = {name: round(float(value[i]), 6) for name, value in terms.items()}
                self._file.write(json.dumps({"step": first_step + i, **values}) + "\n")
            self._file.flush()
            self._write_event(last_step, scalars)
        self._bar.update(num_updates)
        self._bar.set_postfix_str(f"loss {terms['loss'].mean():.2f} nats{self._reported}")

    def add_report(self, step: int, values: dict[str, float]) -> None:
        """Records what was measured at the report of `step`."""
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        with self._disk_errors_reported():
            with open(self._directory / REPORTS, "a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            self._write_event(step, scalars)
        if HELD_OUT in values:
            self._reported = f", held-out ELBO {values[HELD_OUT]:.2f}"

    def _write_event(self, step: int, scalars: list[Summary.Value]) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))
        self._events.flush()

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
                f"The metrics cannot be written in {self._directory} ({error.strerror}); free some space and start "
                "again with the same command."
            ) from error


def read(path: Path) -> dict[str, np.ndarray]:
    """The columns of a metrics.jsonl, by name; raises InputError if there is none."""
    if not path.exists():
        raise InputError(f"There is no file {path}; give the metrics.jsonl of a run directory.")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _start_events(directory, step):
    """A file of events that makes TensorBoard forget those after `step`, which an earlier file may hold."""
    directory.mkdir(exist_ok=True)
    events = EventsWriter(str(directory / "events"), f".{step}")
    events.write_event(Event(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START)))
    events.flush()
    return events


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

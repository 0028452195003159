"""Time contenders in processes of their own, turn by turn, and print a table with the ratios that matter.

A process each keeps compile time, peak memory and threads apart; taking turns spreads the noise of a shared machine.
"""

import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vnca_jax.errors import InputError
from vnca_jax.text_table import aligned

GIB = 2**30


@dataclass(frozen=True)
class Prepared:
    """What a contender is ready to repeat, the seconds that compiling it took (0 where nothing is compiled), and how
    many images (or steps) one repeat is, by which its time is divided.
    """

    run: Callable[[], object]
    compile_s: float = 0.0
    images: int = 1


@dataclass(frozen=True)
class Measurement:
    """Seconds of every timed repeat, compile seconds, and the process's peak resident memory in GiB."""

    seconds: list[float]
    compile_s: float
    peak_gib: float

    @property
    def median_s(self) -> float:
        """The figure that ratios are made of."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """A measured ratio and the value it should not exceed; a target of None only reports."""

    what: str
    value: float
    target: float | None = None

    def __str__(self) -> str:
        target = "none" if self.target is None else f"{self.target:.2f}"
        return f"ratio {self.what}: {self.value:.3f} (target {target})"


@dataclass(frozen=True)
class Timing:
    """What all benchmarks of this kind share."""

    repeats: int = 3
    """Timed repeats of each contender; the median is reported."""
    json: Path | None = None
    """Also write everything to this JSON file."""


@dataclass(frozen=True)
class CommonOptions(Timing):
    """What the benchmarks of one model share; the defaults are the paper's sizes."""

    latent_size: int = 256
    """Channels of a cell, and size of the latent."""
    hidden_size: int = 256
    """Channels inside the update network."""


def peak_memory_gib() -> float:
    """Peak resident memory of this process; the kernel counts in KiB on Linux and in bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / GIB if sys.platform == "darwin" else peak * 1024 / GIB


def time_compilation(lowered: Any) -> tuple[Any, float]:
    """The executable of a lowered JAX function and the seconds that it took to make, without the cache on disk."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    start = time.perf_counter()
    compiled = lowered.compile()
    return compiled, time.perf_counter() - start


def serve(connection: Connection, prepare: Callable[..., Prepared], arguments: tuple[Any, ...]) -> None:
    """A contender's process: prepare, repeat once without timing, then one timed repeat for every True received."""
    prepared = prepare(*arguments)
    prepared.run()
    connection.send(prepared.compile_s)
    while connection.recv():
        start = time.perf_counter()
        prepared.run()
        connection.send((time.perf_counter() - start) / prepared.images)
    connection.send(peak_memory_gib())


class Contender:
    """A process that repeats what `prepare(*arguments)` gives; `prepare` is a function at the top of a module."""

    def __init__(self, name: str, prepare: Callable[..., Prepared], *arguments: Any):
        self.name = name
        self.seconds: list[float] = []
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, prepare, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._compile_s = self._receive()

    def _receive(self) -> float:
        try:
            return self._connection.recv()
        except EOFError as error:
            raise RuntimeError(f"the process of {self.name!r} ended early; its own output says why") from error

    def repeat(self) -> None:
        """One timed repeat."""
        self._connection.send(True)
        self.seconds.append(self._receive())

    def finish(self) -> Measurement:
        """End the process and return what was measured."""
        self._connection.send(False)
        peak_gib = self._receive()
        self._process.join()
        return Measurement(self.seconds, self._compile_s, peak_gib)


def take_turns(contenders: Sequence[Contender], repeats: int) -> dict[str, Measurement]:
    """`repeats` rounds in which every contender runs once, alone."""
    for _ in range(repeats):
        for contender in contenders:
            contender.repeat()
    return {contender.name: contender.finish() for contender in contenders}


def require(json_path: Path | None, **sizes: int) -> None:
    """InputError without PyTorch, where the report could not be written, or for a size that is not positive."""
    require_torch()
    require_folder(json_path)
    require_sizes(**sizes)


def require_torch() -> None:
    """InputError without PyTorch, which the comparison needs and the package does not."""
    if find_spec("torch") is None:
        raise InputError("This benchmark compares with PyTorch, which is not installed: run `pip install torch` first.")


def require_sizes(**sizes: int) -> None:
    """InputError for the first size that is not positive."""
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"--{name.replace('_', '-')} is {size} but must be at least 1: give a positive number.")


def require_folder(path: Path | None) -> None:
    """InputError, before anything is measured, where the report could not be written in the end."""
    if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise InputError(
            f"--json {path} cannot be written: {path.parent} is not a folder you can write to; make it first."
        )


def describe_machine() -> dict[str, Any]:
    """Where and with which versions the figures were taken."""
    versions = {}
    for package in ("jax", "jaxlib", "torch"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def report(
    benchmark: str,
    options: Any,
    measurements: dict[str, Measurement],
    ratios: Sequence[Ratio],
    json_path: Path | None,
    **more: Any,
) -> None:
    """Print machine, table and ratio lines, and write all of it, and what `more` names, to `json_path` if one is given.

    A measurement without timed repeats stands in the table for its memory.
    """
    machine = describe_machine()
    settings = {name: value for name, value in asdict(options).items() if name != "json"}
    print(f"{benchmark}: " + ", ".join(f"{name} {value}" for name, value in (settings | machine).items()))
    rows = [
        (
            name,
            f"{found.median_s:.3f}" if found.seconds else "-",
            f"{min(found.seconds):.3f}" if found.seconds else "-",
            f"{1 / found.median_s:.4f}" if found.seconds else "-",
            f"{found.compile_s:.1f}" if found.compile_s else "-",
            f"{found.peak_gib:.2f}",
        )
        for name, found in measurements.items()
    ]
    if rows:
        print(aligned(("", "median s", "best s", "a second", "compile s", "peak GiB"), rows))
    for ratio in ratios:
        print(ratio)
    if json_path is not None:
        content = {
            "benchmark": benchmark,
            "options": settings,
            "machine": machine,
            "measurements": {name: asdict(found) for name, found in measurements.items()},
            "ratios": [asdict(ratio) for ratio in ratios],
            **more,
        }
        json_path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

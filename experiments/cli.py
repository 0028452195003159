"""The flags that all experiments share, and from a command line to a config."""

import dataclasses
import json
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import tyro

from vnca_jax import backend, joining, parallel, paths
from vnca_jax.compilation import keep_compiled
from vnca_jax.compute import ComputeDtype
from vnca_jax.errors import InputError, reported
from vnca_jax.run_directory import check_name
from vnca_jax.train import TrainConfig

Preset = Literal["cpu", "paper"]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The data."""

    dataset: str
    """Dataset by name."""
    data_dir: Path | None = None
    """Folder with the dataset's official files, or your own pictures; None looks in $VNCA_DATA_DIR, /kaggle/input."""
    hold_out: bool = False
    """Hold the validation images out (10,000 of binarized MNIST); each report gives the ELBO of 500 of them."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where the run is kept and what it uses."""

    preset: Preset = "cpu"
    """Defaults of the other flags: a small run for a CPU, or the paper's."""
    out: Path = Path("runs")
    """Folder of all runs; this one goes to <out>/<experiment>/<name>."""
    name: str = ""
    """Name of the run, by default that of the preset; the same name resumes it."""
    num_devices: int | None = None
    """Number of devices; None takes all that JAX sees."""
    num_samples: int = 128
    """Importance samples per image of the evaluation, K."""
    limit: int | None = None
    """Number of test images to evaluate, evenly spread over the test set; None takes all."""
    compute_dtype: ComputeDtype = "auto"
    """Type of the automaton's dots and convolutions; auto is what is fastest on the device."""
    start_from: Path | None = None
    """Start from the parameters of this model file (or pretrained:NAME) of the same sizes; None draws them."""
    distributed: bool = False
    """Train together with other processes; SLURM's tasks and a TPU slice's hosts need no flag."""

    def __post_init__(self):
        check_at_least(self, {"num_samples": 1, "limit": 2})
        check_name(self.name)


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Nothing to choose."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole configuration; every field of its parts is one flag."""

    model: Any
    data: DataConfig
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)
    loss: Any = NoOptions()
    analysis: Any = NoOptions()
    """What is measured and drawn after training; a resumed run may change it."""


def main(prog: str, docstring: str | None, presets: dict[Preset, Any], run: Callable[[Any], None]) -> None:
    """Reads the flags and runs the experiment; a mistake in them is one sentence and exit code 2."""
    parallel.use_all_cores()
    keep_compiled()
    wanted = _preset(sys.argv[1:])
    preset = wanted if wanted in presets else "cpu"  # tyro refuses another
    config = dataclasses.replace(presets[preset], run=dataclasses.replace(presets[preset].run, preset=preset))
    with reported():
        flags = tyro.cli(
            type(config),
            args=sys.argv[1:],
            default=config,
            prog=f"python -m {prog}",
            description=docstring,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        config = paths.expanded_in(flags)
        if isinstance(config.run, RunConfig):
            with joining.joined(config.run.distributed):
                run(config)
        else:  # an analysis, which one process does
            backend.check()
            run(config)


def check_at_least(options: Any, smallest: dict[str, int]) -> None:
    """Raises InputError that names the first flag of `options` below its smallest value; None is no value."""
    for name, least in smallest.items():
        if (value := getattr(options, name)) is not None and value < least:
            raise InputError(f"`{name}` is {value}, but must be at least {least}.")


def command_of(experiment: str) -> str:
    """The command line that is running."""
    return shlex.join(["python", "-m", f"experiments.{experiment}", *sys.argv[1:]])


def versions() -> dict[str, str]:
    """What a result was computed with."""
    return {"python": platform.python_version(), "jax": jax.__version__}


def print_pictures(paths: Sequence[Path]) -> None:
    """The list that a command ends with."""
    print("\nPictures:", *(f"  {path}" for path in paths), sep="\n")


def as_flags(config: Config) -> dict[str, Any]:
    """Flag names to JSON values."""
    parts = (config.run, config.data, config.model, config.loss, config.train, config.analysis)
    return {name: value for part in parts for name, value in flags_of(part).items()}


def defaults_of(config: Config) -> dict[str, Any]:
    """What a flag was for a run that began before there was one: its default, and of a model the preset's size."""
    parts = (config.run, config.data, config.loss, config.train)
    defaults = {field.name: field.default for part in parts for field in dataclasses.fields(part)}
    given = {name: value for name, value in defaults.items() if value is not dataclasses.MISSING}
    return _as_json(given) | flags_of(config.model)


def flags_of(part: Any) -> dict[str, Any]:
    """Flag names of one part of a config to JSON values."""
    return _as_json(dataclasses.asdict(part))


def _as_json(values):
    return {name.replace("_", "-"): json.loads(json.dumps(value, default=str)) for name, value in values.items()}


def _preset(args):
    """The value of --preset, which must be known before the other flags have their defaults."""
    for i, arg in enumerate(args):
        if arg == "--preset" and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith("--preset="):
            return arg.removeprefix("--preset=")
    return None

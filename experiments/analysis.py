"""The frame of an analysis of trained models: the models, the labelled images, the folder of its numbers and pictures.

Without a checkpoint at hand it trains the experiment's preset first, in the same folder of runs.
"""

import contextlib
import dataclasses
import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from experiments import cli
from experiments.cli import Preset
from vnca_jax import data, parallel, paths, remat
from vnca_jax.checkpoint import import_model
from vnca_jax.compute import choose
from vnca_jax.data import Dataset
from vnca_jax.errors import InputError
from vnca_jax.models import VAE, VNCA, ConvVAE
from vnca_jax.run_directory import check_name, claim
from vnca_jax.text_table import aligned
from vnca_jax.writing import write_json

IMAGES_AT_ONCE = 50


@dataclasses.dataclass(frozen=True)
class Automaton:
    """The model."""

    ckpt: tuple[Path, ...] = ()
    """A trained VNCA, or several: run directories or model.eqx files; none trains experiments.mnist_doubling first."""


@dataclasses.dataclass(frozen=True)
class AutomatonAndBaseline:
    """The models."""

    ckpt: tuple[Path, ...] = ()
    """A trained VNCA, or several: run directories or model.eqx files; none trains experiments.mnist_doubling first."""
    baseline_ckpt: tuple[Path, ...] = ()
    """The same of the baseline; none trains experiments.mnist_baseline first."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where the analysis is kept."""

    preset: Preset = "cpu"
    """Which values the other flags default to, and which preset is trained where no checkpoint is given."""
    out: Path = Path("runs")
    """Folder of all runs; this one goes to <out>/<experiment>/<name>."""
    name: str = ""
    """Name of the analysis, that of the preset if empty."""
    seed: int = 0
    """Seed of all that is drawn."""
    data_dir: Path | None = None
    """Folder with the official files, MNIST's too for the labels; None looks in $VNCA_DATA_DIR, then /kaggle/input."""

    def __post_init__(self):
        check_name(self.name)


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole configuration; every field of its parts is one flag."""

    models: Any
    analysis: Any
    run: RunConfig = dataclasses.field(default_factory=RunConfig)


@dataclasses.dataclass(frozen=True)
class Trained:
    """One trained model, and where it came from."""

    model: Any
    header: dict[str, Any]
    path: Path

    def images(self, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n H W c"]:
        """`images` as the model takes them: with its border, and values in [0, 1]."""
        padded = Dataset("the test set", images, images).padded(self.model.image_size).test
        return np.asarray(self.model.likelihood.from_levels(jnp.asarray(padded)))


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What an analysis works with: `directory` is this process's alone while it runs."""

    experiment: str
    directory: Path
    config: Config
    automata: list[Trained]
    baselines: list[Trained]
    dataset_name: str
    drawn: list[Path] = dataclasses.field(default_factory=list)

    def figure(self, name: str) -> Path:
        """The path of a picture, which the summary will list."""
        path = self.directory / "figures" / name
        self.drawn.append(path)
        return path

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The dataset of the models, with labels; raises InputError where it or they are not at hand."""
        data_dir = self.config.run.data_dir
        return data.labelled(data.load(self.dataset_name, data_dir=data_dir), data_dir=data_dir)

    def save(self, **facts: Any) -> None:
        """Writes results.json: which models, which command, and `facts`."""
        models = [
            {"path": str(one.path), **{key: one.header.get(key) for key in ("model", "step", "sha256")}}
            for one in (*self.automata, *self.baselines)
        ]
        about = {
            "analysis": self.experiment,
            "dataset": self.dataset_name,
            "models": models,
            "seed": self.config.run.seed,
            "command": cli.command_of(self.experiment),
            "versions": cli.versions(),
        }
        write_json(self.directory / "results.json", about | facts)


@contextlib.contextmanager
def start(experiment: str, config: Config, *, automaton: type[VNCA] = VNCA) -> Iterator[Analysis]:
    """Loads the models, or trains them; claims the folder; lists the pictures at the end.

    `automaton` is the kind of VNCA that the analysis is for. Raises InputError before anything is trained or drawn if a
    checkpoint does not fit, and before anything is drawn if the folder does not.
    """
    fields: dict[str, tuple[str, type[VAE]]] = {"mnist_doubling": ("ckpt", automaton)}
    if isinstance(config.models, AutomatonAndBaseline):
        fields["mnist_baseline"] = "baseline_ckpt", ConvVAE
    found = {name: _load(name, field, _paths(name, field, config), kind) for name, (field, kind) in fields.items()}
    datasets = {str(one.header.get("dataset")): str(one.path) for models in found.values() for one in models}
    for name in (name for name, models in found.items() if not models):
        preset = _preset(name, config)
        datasets.setdefault(preset.data.dataset, f"experiments.{name} --preset {config.run.preset}, yet to be trained,")
    if len(datasets) > 1:
        models = " and ".join(f"{where} on {name}" for name, where in datasets.items())
        raise InputError(f"The models are of different data, {models}; choose models of one dataset.")
    for name, (field, kind) in fields.items():
        found[name] = found[name] or _load(name, field, [_train(name, config)], kind)
    automata, baselines = found["mnist_doubling"], found.get("mnist_baseline", [])
    [name] = datasets
    directory = config.run.out / experiment / (config.run.name or config.run.preset)
    with claim(directory):
        analysis = Analysis(experiment, directory, config, automata, baselines, name)
        for one in (*automata, *baselines):
            print(f"{one.header['model']} of {one.path}, {one.header.get('step', 'unknown')} updates on {name}")
        yield analysis
        cli.print_pictures(analysis.drawn)


def _preset(experiment: str, config: Config) -> cli.Config:
    """What is trained where no model is given."""
    return importlib.import_module(f"experiments.{experiment}").PRESETS[config.run.preset]


def _paths(experiment: str, field: str, config: Config) -> Sequence[Path]:
    """The models of a field; where none is given, the experiment's among the runs; none where it has to be trained."""
    trained = config.run.out / experiment / config.run.preset
    return getattr(config.models, field) or ([trained] if paths.exists(trained / "model.eqx") else [])


def _train(experiment: str, config: Config) -> Path:
    """Trains the experiment's preset; its run directory."""
    run, preset = config.run, _preset(experiment, config)
    directory = run.out / experiment / run.preset
    print(f"No checkpoint was given and {directory} holds no model: training it first.")
    wanted = dataclasses.replace(preset.run, preset=run.preset, out=run.out)
    importlib.import_module(f"experiments.{experiment}").main(dataclasses.replace(preset, run=wanted))
    return directory


def _load(experiment: str, field: str, given: Sequence[Path], kind: type[VAE]) -> list[Trained]:
    """The models of a field; raises InputError unless all are of the kind that the experiment trains."""
    found = [Trained(*import_model(path), path) for path in given]
    for one in found:
        if not isinstance(one.model, kind):
            raise InputError(
                f"`{field}` has {one.path}, a {type(one.model).__name__}, but must have a {kind.__name__}: give a run "
                f"of experiments.{experiment}, for example."
            )
    return found


def in_batches(function: Callable[..., Any], *arrays: Shaped[np.ndarray, "n ..."]) -> Any:
    """`function` of so many rows at a time as fit a CPU's cache, at most IMAGES_AT_ONCE, joined on the host."""
    count, results, size = len(arrays[0]), [], IMAGES_AT_ONCE
    if cache_bytes := choose().cache_bytes:
        first = tuple(array[:1] for array in arrays)
        size = min(size, remat.at_once(lambda _, rows: function(*rows), None, first, cache_bytes))
    for index, _ in parallel.batches(count, size):
        results.append(jax.tree.map(np.asarray, function(*(array[index] for array in arrays))))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *results)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table below its title."""
    print(f"\n{title}\n{aligned(columns, rows)}")


def plus_minus(value: tuple[float, float], digits: int = 3) -> str:
    """`mean +- error` to so many digits."""
    return f"{value[0]:.{digits}f} +- {value[1]:.{digits}f}"

"""The frame of a run: directory, mesh, keys, data, resume, results and table. All experiments share it."""

import contextlib
import dataclasses
import json
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8

from experiments import report_page
from experiments.cli import Config, as_flags, command_of, defaults_of, flags_of, print_pictures, versions
from experiments.losses import PoolConfig
from vnca_jax import data, metrics, parallel, paths, pool, processes
from vnca_jax.checkpoint import export_model, import_model, model_file
from vnca_jax.compute import Compute, choose
from vnca_jax.data import Dataset, evenly_spread
from vnca_jax.errors import InputError
from vnca_jax.eval import evaluate
from vnca_jax.losses import Loss
from vnca_jax.models import VAE, hyperparameters
from vnca_jax.run_directory import check_config, claim
from vnca_jax.train import Keys, TrainState, fit, split_seed
from vnca_jax.writing import write_bytes, write_json

START = "start.eqx"  # in a run's directory, a copy of what --start-from names
HELD_OUT_IMAGES = 500  # whose ELBO is taken at each report

# Flags that say nothing about what has been computed so far, so a resumed run may change them.
MAY_CHANGE = frozenset(
    {
        *("num-updates", "cooldown-updates", "cooldown-shape", "cooldown-to", "chunk-size", "num-devices"),
        *("report-every", "checkpoint-minutes", "keep-checkpoints", "max-minutes"),
        *("num-samples", "num-steps", "limit", "data-dir", "out", "name", "preset", "distributed"),
        "compute-dtype",
    }
)


@dataclasses.dataclass(frozen=True)
class Run:
    """What an experiment works with: `directory` is this run's alone while it lasts.

    Of several processes all compute what needs all devices; only the one with `is_first` writes, prints and draws.
    """

    experiment: str
    directory: Path
    config: Config
    mesh: Mesh
    keys: Keys
    dataset: Dataset
    validation: UInt8[np.ndarray, "n h w c"] | None = None
    """The images that are held out of training, if any."""
    drawn: list[Path] = dataclasses.field(default_factory=list)

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return processes.is_first()

    @property
    def compute(self) -> Compute:
        """How its model computes: as suits the device, in the type of --compute-dtype."""
        return choose(dtype=self.config.run.compute_dtype)

    def figure(self, name: str) -> Path:
        """The path of a picture, which the summary will list."""
        path = self.directory / "figures" / name
        self.drawn.append(path)
        return path

    def fit(self, model: VAE, loss: Loss, *, report: Callable[[int, Any], None] | None = None) -> TrainState:
        """Trains on the training images, or resumes. At each report the first process calls `report`.

        With --start-from the parameters are those of START, whose sizes must be the model's.
        """
        if self.config.run.start_from:
            model = self._started(model)

        def measured(step, model):
            if report and self.is_first:
                report(step, model)
            found = self._held_out(model)
            if report and self.is_first:
                report_page.write(self.directory, {"step": step} | found)
            return found

        return fit(
            model,
            loss,
            self.dataset.train,
            config=self.config.train,
            mesh=self.mesh,
            directory=self.directory,
            key=self.keys.train,
            report=measured,
        )

    def _started(self, model: VAE) -> VAE:
        """The model that the run started from; raises InputError if it is another one than `model` is."""
        start, _ = import_model(self.directory / START)
        if type(start) is not type(model):
            raise InputError(
                f"--start-from is {self.config.run.start_from}, a {type(start).__name__}, but this experiment trains a "
                f"{type(model).__name__}; name a file with one."
            )
        shapes = [[leaf.shape for leaf in jax.tree.leaves(each)] for each in (start, model)]
        if shapes[0] != shapes[1]:
            theirs, ours = hyperparameters(start), hyperparameters(model)
            others = [f"`{name}` {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]]
            raise InputError(
                f"--start-from is {self.config.run.start_from}, a model of other sizes than this run's: "
                f"{', '.join(others)}; give the sizes of the model that it starts from."
            )
        return jax.tree.unflatten(jax.tree.structure(model), jax.tree.leaves(start))

    def _held_out(self, model: VAE) -> dict[str, float]:
        """The ELBO of held-out images, with its standard error, in nats; the noise is the same at each report."""
        if self.validation is None:
            return {}
        images = evenly_spread(self.validation, HELD_OUT_IMAGES)
        found = evaluate(model, images, num_samples=1, seed=self.config.train.seed, mesh=self.mesh, quiet=True)
        mean, error = found.terms["elbo"]
        return {metrics.HELD_OUT: mean, f"{metrics.HELD_OUT}_error": error}

    def export_and_evaluate(self, state: TrainState) -> Any:
        """Writes model.eqx, evaluates it on the test images, writes results.json and prints the table; returns it."""
        step, dataset, options = int(state.step), self.dataset, self.config.run
        model, path = jax.device_get(state.trained_model), self.directory / "model.eqx"
        before = _facts_of_start(self.directory / START) if options.start_from else {"updates": 0}
        if self.is_first:
            about: dict[str, Any] = {"dataset": dataset.name, "experiment": self.experiment}
            export_model(path, model, **about, step=step, updates_before=before["updates"])
        images, seed = dataset.some_test_images(options.limit), self.config.train.seed
        result = evaluate(model, images, num_samples=options.num_samples, seed=seed, mesh=self.mesh)
        if not self.is_first:
            return model
        seconds = metrics.read(self.directory / "metrics.jsonl")["seconds"].sum()
        facts = {
            "experiment": self.experiment,
            "dataset": dataset.name,
            "updates": step,
            "training_seconds": round(float(seconds), 1),
            "command": command_of(self.experiment),
            "evaluation": result.as_json(),
            "config": as_flags(self.config),
            "versions": versions(),
        }
        if options.start_from:
            facts["started_from"] = before
        write_json(self.directory / "results.json", facts)
        print(f"\n{self.experiment} on {dataset.name}: {step} updates in {seconds / 60:.1f} minutes of training")
        print(result.table())
        return model

    def add_results(self, **facts: Any) -> None:
        """Adds to results.json."""
        path = self.directory / "results.json"
        write_json(path, json.loads(path.read_text()) | facts)


@contextlib.contextmanager
def start(experiment: str, config: Config) -> Iterator[Run]:
    """Loads the data, claims the run's directory, holds the config against what is there; lists pictures at the end.

    Raises InputError before anything is written if the data, the devices or the config do not fit. Of several processes
    the first one does all this, and the others go on when it has.
    """
    flags = as_flags(config)
    _check_same_flags(flags)
    mesh = parallel.make_mesh(config.run.num_devices)
    parallel.check_divisible("batch_size", config.train.batch_size, mesh.size)
    if isinstance(config.loss, PoolConfig):
        pool.check_sizes(config.loss.pool_size, config.train.batch_size, mesh.size)
    image_size = config.model.image_size
    with _flag_named(config.model, "num_doublings", "image_size"):
        data.check_image_size(config.data.dataset, image_size)
    dataset, validation = data.load_padded(config.data.dataset, image_size, data_dir=config.data.data_dir), None
    _check_channels(dataset, config.model)
    if config.data.hold_out:
        dataset, validation = dataset.held_out()
    directory = config.run.out / experiment / (config.run.name or config.run.preset)
    with contextlib.ExitStack() as stack:
        if processes.is_first():
            stack.enter_context(_removed_if_nothing_came(directory))
            stack.enter_context(claim(directory))
            check_config(directory, flags, frozenset({*MAY_CHANGE, *flags_of(config.analysis)}), defaults_of(config))
            if config.run.start_from and not paths.exists(directory / START):
                write_bytes(directory / START, model_file(config.run.start_from).read_bytes())
        processes.meet()
        _check_shared(directory)
        run = Run(experiment, directory, config, mesh, split_seed(config.train.seed), dataset, validation)
        yield run
        if run.drawn:
            print_pictures(run.drawn)
            print(f"\nAll on one page:\n  {report_page.write(directory)}")
        processes.meet()  # so that the others find what the first one has written


@contextlib.contextmanager
def _flag_named(sizes: Any, *fields: str) -> Iterator[None]:
    """Puts the first of these fields that `sizes` has, with its value, before an InputError."""
    try:
        yield
    except InputError as error:
        name = next(name for name in fields if name in {field.name for field in dataclasses.fields(sizes)})
        raise InputError(f"`{name}` is {getattr(sizes, name)}: {error}") from error


def _check_channels(dataset: Dataset, sizes: Any) -> None:
    """Raises InputError unless the model's pixels are the dataset's: binary of one channel, or colours of three."""
    channels = dataset.train.shape[-1]
    if (sizes.image_channels, sizes.num_mixtures > 0) != (channels, channels == 3):
        wanted = "3 and 1 or more" if channels == 3 else "1 and 0"
        raise InputError(
            f"`dataset` is {dataset.name}, whose pixels have {channels} channel{'s' if channels > 1 else ''}, but "
            f"`image_channels` is {sizes.image_channels} and `num_mixtures` {sizes.num_mixtures}: give {wanted}."
        )


def _facts_of_start(path: Path) -> dict[str, Any]:
    """Which model a run started from, and after how many updates in total."""
    _, header = import_model(path)
    facts = {name: header[name] for name in ("experiment", "step", "sha256")}
    return facts | {"updates": header["step"] + (header.get("updates_before") or 0)}


def _check_same_flags(flags: dict[str, Any]) -> None:
    """Raises InputError that names the first flag whose value is another one in the first process of this run."""
    for flag, value in processes.agree(flags).items():
        if flag != "data-dir" and flags[flag] != value:
            raise InputError(
                f"One process of this run was started with --{flag} {flags[flag]}, but the first one with --{flag} "
                f"{value}; start all of them with the same flags."
            )


def _check_shared(directory: Path) -> None:
    """Raises InputError if this process does not see the directory that the first one has made."""
    if not paths.exists(directory / "config.json"):
        raise InputError(
            f"{directory} is not on this host ({platform.node()}) what the first process has made there; choose a "
            "folder with --out that all hosts share."
        )


@contextlib.contextmanager
def _removed_if_nothing_came(directory: Path) -> Iterator[None]:
    """Removes the folders that the block made for `directory` if an InputError ends it before the first update."""
    new = [folder for folder in (directory, *directory.parents) if not paths.exists(folder)]
    try:
        yield
    except InputError:
        lines = directory / "metrics.jsonl"
        if directory in new and not (lines.exists() and lines.stat().st_size):
            shutil.rmtree(directory, ignore_errors=True)
            with contextlib.suppress(OSError):  # of a folder that others use by now
                for folder in new[1:]:
                    folder.rmdir()
        raise

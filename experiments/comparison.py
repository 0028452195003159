"""Runs beside the published numbers: reads results.json files, tells what differs from the paper, groups the seeds."""

import dataclasses
import importlib
import importlib.util
import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments import cli
from experiments.published import DIGITS_TEST_IMAGES, PUBLISHED, Published
from vnca_jax import paths
from vnca_jax.errors import InputError

# Flags that change no number but through the order of sums; those of an experiment's analysis come on top.
SILENT = frozenset(
    {
        *("preset", "out", "name", "data-dir", "num-devices", "chunk-size"),
        *("report-every", "checkpoint-minutes", "keep-checkpoints", "max-minutes"),
        *("compute-dtype", "distributed"),
    }
)
WORDS = {
    "steps-per-doubling": "M = {}",
    "num-mixtures": "L = {}",
    "num-steps": "T = {}",
    "pool-size": "P = {:,}",
    "beta": "beta = {}",
    "num-updates": "{:,} updates",
    "cooldown-updates": "the last {:,} with a falling learning rate",
    "cooldown-to": "learning rate falling to a share of {}",
    "warmup-updates": "the first {:,} with a rising learning rate",
    "beta-updates": "the first {:,} with a rising beta",
    "pool-from": "the pool from update {:,} on",
    "growing-updates": "T's range growing over {:,} updates",
    "ema-decay": "moving average {}",
    "num-samples": "{:,} samples",
}
NOT_A_RUN = (InputError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError, OSError)
LAST = ("num-updates", "cooldown-updates", "num-samples")  # in the order of a sentence


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run's results.json says. Bounds are (mean, standard error over test images)."""

    folder: Path
    experiment: str
    dataset: str
    image_shape: tuple[int, ...]
    bounds: dict[str, tuple[float, float]]
    """The IWELBO by unit, nats and bpd."""
    num_images: int
    num_samples: int
    updates: int
    updates_before: int
    """Of the model that the run started from."""
    device: str
    training_seconds: float
    evaluation_seconds: float
    seed: int
    command: str
    config: dict[str, Any]

    def settings(self, silent: frozenset[str]) -> dict[str, Any]:
        """The flags that decide the number, but for the seed, as they were when it was taken; and the images."""
        left_out = silent | {"seed", "limit"}
        taken: dict[str, Any] = {"num-updates": self.updates, "num-samples": self.num_samples}
        if self.updates_before:
            taken["start-from"] = f"a model of {self.updates_before:,} updates"
        return {name: value for name, value in (self.config | taken).items() if name not in left_out} | {
            "images": self.num_images
        }


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: the runs of one configuration, a seed each, or none."""

    published: Published
    differences: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()
    on_papers_data: bool = True

    def ours(self) -> tuple[float, float]:
        """Mean over seeds and its standard error; of a single run, the mean over test images and its."""
        values = [result.bounds[self.published.unit] for result in self.results]
        if len(values) == 1:
            return values[0]
        means = [mean for mean, _ in values]
        return statistics.fmean(means), statistics.stdev(means) / math.sqrt(len(means))

    def reference(self) -> tuple[str, str] | None:
        """Whose number ours is held against, and the number: the paper's, or the reproduction's first."""
        if not self.on_papers_data:
            return None
        if self.published.paper:
            return "paper", self.published.paper
        return ("reproduction", self.published.reproduction[0]) if self.published.reproduction else None

    def difference(self) -> float | None:
        """How much better ours is than the reference, in per cent of it; negative is worse. Fewer bits are better."""
        reference = self.reference()
        if not (self.results and reference):
            return None
        number = float(reference[1])
        sign = -1 if self.published.unit == "bpd" else 1
        return sign * 100 * (self.ours()[0] - number) / abs(number)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The rows of the paper's datasets, those of other datasets, and what was left out and why."""

    paper: list[Row]
    other: list[Row]
    warnings: list[str]


def compare(folders: Iterable[Path]) -> Comparison:
    """All runs under `folders` beside PUBLISHED; raises InputError for a folder that does not exist."""
    results, warnings = find_results(folders)
    rows: dict[bool, list[Row]] = {True: [], False: []}
    for published in PUBLISHED:
        mine = [result for result in results if _row_of(result) is published]
        for on_papers_data, kept in rows.items():
            groups: dict[str, list[Result]] = {}
            for result in mine:
                if _on_papers_data(result) is on_papers_data:
                    silent = SILENT | _analysis_flags(result.experiment)
                    groups.setdefault(json.dumps(result.settings(silent), sort_keys=True), []).append(result)
            found = [
                Row(published, differences(group[0], published), _one_a_seed(group, warnings), on_papers_data)
                for group in groups.values()
            ]
            if on_papers_data and all(row.differences for row in found):
                kept.append(Row(published))
            kept.extend(sorted(found, key=lambda row: (len(row.differences), row.differences)))
    return Comparison(rows[True], rows[False], warnings)


def find_results(folders: Iterable[Path]) -> tuple[list[Result], list[str]]:
    """The results of all runs under `folders`, by path, and a sentence for each results.json that is none."""
    results, warnings = {}, []
    for folder in folders:
        if not paths.is_folder(folder):
            raise InputError(f"--runs is {folder}, but there is no such folder; name folders that hold runs.")
        inside = [inside for inside, folders, files in paths.walk(folder) if "results.json" in (*folders, *files)]
        for path in sorted(place / "results.json" for place in inside):
            try:
                if (result := read_result(path)) is not None:
                    results.setdefault(path.resolve(), result)
            except NOT_A_RUN as error:
                reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
                warnings.append(f"{path} is left out, since it does not hold a run's results: {reason}.")
    return list(results.values()), warnings


def read_result(path: Path) -> Result | None:
    """A run's results.json, None for an analysis'; raises one of NOT_A_RUN if it is not whole, or of another kind."""
    facts = json.loads(paths.read_text(path))
    if "analysis" in facts or facts["experiment"] == "ablations":
        return None
    evaluation, config, start = facts["evaluation"], dict(facts["config"]), dict(facts.get("started_from", {}))
    if facts["experiment"] not in {published.experiment for published in PUBLISHED}:
        raise ValueError(f"the table has no experiment {facts['experiment']!r}")
    bounds = {}
    for unit, name in (("nats", "nats"), ("bpd", "bits_per_dimension")):
        mean, error = map(float, evaluation["terms"]["iwelbo"][name])
        if not (math.isfinite(mean) and math.isfinite(error)):
            raise ValueError("its IWELBO is not finite")
        bounds[unit] = (mean, error)
    return Result(
        folder=path.parent,
        experiment=facts["experiment"],
        dataset=str(facts["dataset"]),
        image_shape=tuple(map(int, evaluation["image_shape"])),
        bounds=bounds,
        num_images=int(evaluation["num_images"]),
        num_samples=int(evaluation["num_samples"]),
        updates=int(facts["updates"]),
        updates_before=int(start.get("updates", start.get("step", 0))),
        device=f"{evaluation['num_devices']} x {evaluation['device']}",
        training_seconds=float(facts["training_seconds"]),
        evaluation_seconds=float(evaluation["seconds"]),
        seed=int(config["seed"]),
        command=" ".join(str(facts["command"]).split()),
        config=config,
    )


def differences(result: Result, published: Published) -> tuple[str, ...]:
    """What sets a run apart from the paper's configuration, or on other data from the cpu preset, in words.

    A flag that came after the run says nothing about it: new flags leave the paper's configuration what it was.
    """
    on_papers_data = _on_papers_data(result)
    expected = _preset(published.experiment, "paper" if on_papers_data else "cpu")
    if expected is None:
        return ("a configuration that could not be compared",)
    silent = SILENT | _analysis_flags(published.experiment)
    found = result.settings(silent)
    images = found.pop("images")
    expected = expected | (published.flags if on_papers_data else {})
    expected = {name: value for name, value in expected.items() if name not in silent | {"seed", "limit"}}
    names = sorted(found, key=lambda name: LAST.index(name) if name in LAST else -1)
    names = [name for name in names if name not in expected or found[name] != expected[name]]
    said = [_in_words(name, found) for name in names]
    sizes = ("latent-size", "hidden-size")
    if set(sizes) <= set(names) and found.get(sizes[0]) == found.get(sizes[1]) is not None:
        said = [f"{found[sizes[0]]} channels", *(s for n, s in zip(names, said, strict=True) if n not in sizes)]
    total = published.num_test_images if on_papers_data else {"digits": DIGITS_TEST_IMAGES}.get(result.dataset, images)
    if images < total and result.config.get("limit") is not None:
        said.append(f"{images:,} of {total:,} test images")
    elif images != total:
        said.append(f"{images:,} test images, not {total:,}")
    return tuple(said)


def _in_words(name, found):
    value = found[name]
    if name == "cooldown-updates" and not value:
        return "a constant learning rate"
    if name == "num-doublings":
        return f"K = {value} and so {2 ** (value + 1)}x{2 ** (value + 1)} pixels"
    if name == "one-per-scale":
        return "an update network for each scale" if value else "one update network for all scales"
    if name == "hold-out":
        return "no validation images in training" if value else "validation images in training"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return WORDS[name].format(value) if name in WORDS and number else f"{name.replace('-', ' ')} {value}"


def _row_of(result):
    """The published number that a run is nearest to, where an experiment has several."""
    flags = {name: value for p in PUBLISHED if p.experiment == result.experiment for name, value in p.flags.items()}

    def distance(published):
        wanted = (_preset(result.experiment, "paper") or {}) | published.flags
        return sum(result.config.get(name) != wanted.get(name) for name in flags)

    return min((p for p in PUBLISHED if p.experiment == result.experiment), key=distance)


def _on_papers_data(result):
    expected = _preset(result.experiment, "paper")
    return result.dataset == expected["dataset"] if expected else result.dataset != "digits"


def _presets(experiment):
    name = f"experiments.{experiment}"
    return importlib.import_module(name).PRESETS if importlib.util.find_spec(name) else {}


def _preset(experiment, preset):
    """The flags of a preset, or None if the experiment or the preset does not exist."""
    presets = _presets(experiment)
    return cli.as_flags(presets[preset]) if preset in presets else None


def _analysis_flags(experiment):
    return frozenset(
        field.name.replace("_", "-")
        for config in _presets(experiment).values()
        for field in dataclasses.fields(config.analysis)
    )


def _one_a_seed(results, warnings):
    """The first run of each seed; a run that repeats a seed with another number is named in `warnings`."""
    kept: dict[int, Result] = {}
    for result in results:
        first = kept.setdefault(result.seed, result)
        if first.bounds != result.bounds:
            warnings.append(f"{result.folder} is left out, since {first.folder} is the same run with the same seed.")
    return tuple(kept[seed] for seed in sorted(kept))

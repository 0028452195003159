"""The table of all numbers: the paper's, the reproduction's, and ours as far as they have been run.

    python -m experiments.table                                                      all runs, in runs/ and pretrained/
    python -m experiments.table --runs pretrained --readme README.md docs/results.md  and the tables of these pages

Reads every results.json; computes no bound itself.
"""

import csv
import dataclasses
import importlib.util
import io
import itertools
import json
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from experiments import status
from experiments.comparison import Comparison, Row, compare
from experiments.published import Published
from vnca_jax import paths
from vnca_jax.errors import InputError, reported
from vnca_jax.writing import write_text

DEFAULT_FOLDERS = (Path("runs"), Path("pretrained"))
NOT_RUN = "not run"
# Columns that the terminal and the documentation show, with their greatest widths in the terminal; table.md has MORE.
WIDTHS = {"model": 26, "data": 16, "paper": 6, "reproduction": 12, "ours": 14, "difference": 14}
WIDTHS |= {"images x samples": 9, "updates": 7, "device": 8, "training + evaluation": 10}
FROM_ELSEWHERE = ("paper", "reproduction", "difference")
MORE = ("error over", "seeds", "command", "folder")
EXPLANATION = (
    "Bounds are the IWELBO of the test set: nats, higher is better; bits per dimension (bpd), lower is better.",
    "+- is one standard error, over the test images for a single run, over the seeds where their number is given.",
    "A run is in the paper's row only if it has the paper's configuration; else \"with\" names all that differs.",
)
NAMED_BELOW = "A run is in the paper's row only if it has the paper's configuration; what else differs is named below."


@dataclasses.dataclass(frozen=True)
class Options:
    """The paper's numbers, the reproduction's, and ours as far as they have been run."""

    runs: tuple[Path, ...] = ()
    """Folders that hold runs, at any depth; by default runs and pretrained, where they exist."""
    out: Path = Path("runs")
    """Folder that table.md, table.csv and table.json are written to."""
    readme: tuple[Path, ...] = ()
    """Markdown files to rewrite a table in: this one between <!-- table --> and <!-- /table -->, as in docs/results.md,
    and a short one between <!-- status --> and <!-- /status -->, as in README.md."""


def main(options: Options) -> None:
    """Prints the table and writes its files."""
    comparison = compare(options.runs or [folder for folder in DEFAULT_FOLDERS if folder.is_dir()])
    for warning in comparison.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    files = {
        options.out / "table.md": markdown(comparison, MORE),
        options.out / "table.csv": as_csv(comparison),
        options.out / "table.json": as_json(comparison),
    }
    files |= {page: in_readme(page, comparison) for page in options.readme}
    print(terminal(comparison), "\nWritten:", sep="\n")
    for path, text in files.items():
        write_text(path, text)
        print(f"  {path}")


class Table(NamedTuple):
    """Rows as text by column."""

    title: str
    columns: tuple[str, ...]
    rows: list[dict[str, str]]


def tables(comparison: Comparison, *, short: bool = False) -> list[Table]:
    """The table and, if there are runs on other data, theirs; the rows that have been run are numbered."""
    number = itertools.count(1)
    both = (comparison.paper, comparison.other)
    numbered = [[cells(row, next(number) if row.results else None, short=short) for row in rows] for rows in both]
    found = [Table("The paper's numbers and ours", tuple(WIDTHS), numbered[0])]
    if comparison.other:
        on_digits = all(result.dataset == "digits" for row in comparison.other for result in row.results)
        title = f"The same models on {'the embedded digits' if on_digits else 'other data'}, beside their cpu presets"
        found.append(Table(title, tuple(name for name in WIDTHS if name not in FROM_ELSEWHERE), numbered[1]))
    return found


def cells(row: Row, number: int | None, *, short: bool = False) -> dict[str, str]:
    """A row as text by column, none of it empty; `number` stands behind ours. If `short` it leaves out what differs."""
    published, results, model = row.published, row.results, row.published.model
    if row.differences:
        model = f"{model}, another configuration" if short else f"{model} with {', '.join(row.differences)}"
    text = {
        "model": model,
        "data": f"{published.data}, {published.unit}",
        "paper": published.paper or "none",
        "reproduction": ", ".join(published.reproduction) or "none",
        "ours": NOT_RUN,
    }
    if not results:
        return dict.fromkeys((*WIDTHS, *MORE), "-") | text | {"command": command(published)}
    first, seeds = results[0], len(results)
    if not row.on_papers_data:
        text["data"] = f"{first.dataset}, {'x'.join(map(str, first.image_shape[:2]))}, {published.unit}"
        text |= dict.fromkeys(FROM_ELSEWHERE, "none")
    digits = 2 if published.unit == "nats" else 3
    bound, error = (f"{value:.{digits}f}" for value in row.ours())
    training = sum(result.training_seconds for result in results) / seeds
    evaluation = sum(result.evaluation_seconds for result in results) / seeds
    return text | {
        "ours": f"{bound} +- {error}{f' ({seeds} seeds)' if seeds > 1 else ''} [{number}]",
        "difference": difference(row),
        "images x samples": f"{first.num_images:,} x {first.num_samples:,}",
        "updates": (f"{first.updates_before:,} + " if first.updates_before else "") + f"{first.updates:,}",
        "device": ", ".join(dict.fromkeys(result.device for result in results)),
        "training + evaluation": f"{duration(training)} + {duration(evaluation)}{' (means)' if seeds > 1 else ''}",
        "error over": f"{seeds} seeds" if seeds > 1 else "test images",
        "seeds": ", ".join(str(result.seed) for result in results),
        "command": "; ".join(result.command for result in results),
        "folder": ", ".join(result.folder.as_posix() for result in results),
    }


def command(published: Published) -> str:
    """The command that makes a published number here."""
    module = f"experiments.{published.experiment}"
    if importlib.util.find_spec(module) is None:
        return "no experiment yet"
    flags = (f" --{name} {value:g}" for name, value in published.flags.items())
    return f"python -m {module} --preset paper{''.join(flags)}"


def difference(row: Row) -> str:
    """How much better or worse than the paper or the reproduction, in words."""
    reference, percent = row.reference(), row.difference()
    if reference is None or percent is None:
        return "no number"
    than = "the paper" if reference[0] == "paper" else f"the reproduction's {reference[1]}"
    return f"{abs(percent):.2f} % {'better' if percent >= 0 else 'worse'} than {than}"


def duration(seconds: float) -> str:
    """Seconds, minutes, or hours and minutes."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def terminal(comparison: Comparison) -> str:
    """The tables in aligned columns, wrapped, and the runs behind the numbers."""
    lines = []
    for title, columns, rows in tables(comparison):
        texts = [dict(zip(columns, columns, strict=True)), *rows]
        wrapped = [
            [textwrap.wrap(row[name], WIDTHS[name], break_on_hyphens=False) for name in columns] for row in texts
        ]
        widths = [max(len(line) for cell in column for line in cell) for column in zip(*wrapped, strict=True)]
        lines += [f"{title}:", ""]
        for i, row in enumerate(wrapped):
            for parts in itertools.zip_longest(*row, fillvalue=""):
                lines.append("  ".join(map(str.ljust, parts, widths)).rstrip())
            lines.append("" if i else "-" * (sum(widths) + 2 * len(widths) - 2))
    if not comparison.other:
        lines += ["The same models on the embedded digits: not run", ""]
    return "\n".join([*lines, *EXPLANATION, *(f"\n{line}" for line in runs(comparison))])


def markdown(comparison: Comparison, more: tuple[str, ...] = (), *, short: bool = False) -> str:
    """The tables, with the columns `more` too, what the numbers are, and the runs behind them.

    If `short`, what differs from the paper's configuration stands with the runs, which leaves narrow columns.
    """
    paragraphs = []
    for title, columns, rows in tables(comparison, short=short):
        names = [*columns, *more]
        lines = [names, ["---"] * len(names), *([row[name].replace("|", "\\|") for name in names] for row in rows)]
        paragraphs += [f"{title}:", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    explanation = [*EXPLANATION[:-1], NAMED_BELOW] if short else EXPLANATION
    below = runs(comparison, quote="`", differences=short)
    return "\n\n".join([*paragraphs, "\n".join(explanation), *below]) + "\n"


def runs(comparison: Comparison, quote: str = "", *, differences: bool = False) -> Iterator[str]:
    """By number, where the results of a row are and which command made them, and if wanted what differs in it."""
    number = itertools.count(1)
    for row in (*comparison.paper, *comparison.other):
        mark = f"[{next(number)}]" if row.results else ""
        for result in row.results:
            folder = result.folder.as_posix()
            line = f"{mark} {quote}{folder}{quote}, seed {result.seed}: {quote}{result.command}{quote}"
            yield f"{line}. It differs in {', '.join(row.differences)}." if differences and row.differences else line


def facts(row: Row) -> dict[str, Any]:
    """A row's numbers in full, None where there is none."""
    published, results, run = row.published, row.results, bool(row.results)
    first = results[0] if run else None
    bound, error = row.ours() if run else (NOT_RUN, None)
    reference = row.reference()
    return {
        "experiment": published.experiment,
        "model": published.model,
        "data": published.data if row.on_papers_data or not first else first.dataset,
        "unit": published.unit,
        "differs in": list(row.differences),
        "paper": float(published.paper) if published.paper and row.on_papers_data else None,
        "reproduction": [float(number) for number in published.reproduction] if row.on_papers_data else [],
        "ours": bound,
        "standard error": error,
        "error over": None if not run else f"{len(results)} seeds" if len(results) > 1 else "test images",
        "better by, %": row.difference(),
        "than": " ".join(reference) if reference and run else None,
        "images": first and first.num_images,
        "samples": first and first.num_samples,
        "updates": first and first.updates,
        "devices": [result.device for result in results],
        "training seconds": [result.training_seconds for result in results],
        "evaluation seconds": [result.evaluation_seconds for result in results],
        "seeds": [result.seed for result in results],
        "commands": [result.command for result in results],
        "folders": [result.folder.as_posix() for result in results],
    }


def as_json(comparison: Comparison) -> str:
    """All rows, by table."""
    named = {"paper": comparison.paper, "other data": comparison.other}
    return json.dumps({name: [facts(row) for row in rows] for name, rows in named.items()}, indent=2) + "\n"


def as_csv(comparison: Comparison) -> str:
    """A line a row, those on other data last; "none" and "-" where there is no number, as in the table."""
    text = io.StringIO()
    rows = [facts(row) for row in (*comparison.paper, *comparison.other)]
    lines = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    lines.writeheader()
    for row in rows:
        joined = {name: "; ".join(map(str, x)) if isinstance(x, list) else x for name, x in row.items()}
        empty = {name: "none" if name in FROM_ELSEWHERE else "-" for name, x in joined.items() if x in (None, "")}
        lines.writerow(joined | empty)
    return text.getvalue()


def in_readme(path: Path, comparison: Comparison) -> str:
    """The text of `path` with the tables between their markers rewritten; raises InputError unless these are there."""
    try:
        text = paths.read_text(path)
    except InputError as error:
        raise InputError(f"--readme is {path}, but it must be a Markdown file. {error}") from error
    made = {"table": partial(markdown, short=True), "status": status.markdown}
    for name in [name for name in made if f"<!-- {name} -->" in text] or ["table"]:
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        if text.count(begin) != 1 or text.count(end) != 1 or end not in rest:
            raise InputError(
                f"--readme is {path}, which must have {begin} and below it {end}, each once; put them where the table "
                "goes."
            )
        text = f"{before}{begin}\n\n{made[name](comparison)}\n{end}{after}"
    return text


if __name__ == "__main__":
    with reported():
        main(paths.expanded_in(tyro.cli(Options, prog="python -m experiments.table", description=Options.__doc__)))

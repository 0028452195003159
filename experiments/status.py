"""The README's status table: for each experiment of the paper its number, ours so far, the weights and the command."""

from experiments.comparison import Comparison, Row

# The experiments that the paper has a number or a figure for, a row each.
EXPERIMENTS = (
    *("mnist_doubling", "mnist_nondoubling", "mnist_baseline"),
    *("celeba_doubling", "celeba_nondoubling", "emoji_doubling"),
)
COLUMNS = ("model", "paper", "reproduction", "ours", "weights", "command")


def markdown(comparison: Comparison) -> str:
    """The table, and what "reduced" means in it."""
    rows = [_cells(*_published_and_best(comparison, name)) for name in EXPERIMENTS]
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        "\n\nBounds (IWELBO, K = 128) in nats, higher is better, or in bits per dimension (bpd), lower is better.\n"
        "Reduced: a smaller model, smaller images, fewer updates or fewer test images than the paper's.\n"
    )


def _published_and_best(comparison: Comparison, experiment: str) -> tuple[Row, Row | None]:
    """The first row of an experiment, and of the runs beside its number the one in the paper's configuration, or the
    best."""
    rows = [row for row in comparison.paper if row.published.experiment == experiment]
    published = rows[0].published
    run = [row for row in rows if row.results and row.published is published]
    sign = -1 if published.unit == "bpd" else 1
    return rows[0], max(run, key=lambda row: (not row.differences, sign * row.ours()[0]), default=None)


def _cells(first: Row, best: Row | None) -> tuple[str, ...]:
    published = first.published
    ours, weights = "not run", "none"
    if best:
        digits = 2 if published.unit == "nats" else 3
        bound, error = (f"{value:.{digits}f}" for value in best.ours())
        ours = f"{bound} +- {error}{', reduced' if best.differences else ''}"
        folder = best.results[0].folder
        weights = f"`{folder.name}`" if folder.parent.name == "pretrained" else "none"
    return (
        f"{published.model}, {published.data.removeprefix('static binarized ')}, {published.unit}",
        published.paper or "none",
        ", ".join(published.reproduction) or "none",
        ours,
        weights,
        f"`python -m experiments.{published.experiment} --preset paper`",
    )

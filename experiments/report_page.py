"""report.html, a run on one page: its curves, its pictures over time and its final numbers.

The page holds all that it shows, so it opens from disk, without a network, and in a notebook.
"""

import base64
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments import curves
from vnca_jax import paths
from vnca_jax.writing import write_text

NAME = "report.html"
REPORTS = 8  # shown of all, evenly spread, the last one included
WIDTH, HEIGHT, LEFT, BOTTOM = 760, 320, 60, 36  # of the drawing of curves, and of its margins
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728")
TERMS = {"iwelbo": "IWELBO", "elbo": "ELBO", "log_px_given_z": "log p(x|z)", "kl": "KL(q(z|x) || p(z))"}
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }}
th, td {{ padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #8884 }}
figure {{ display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top; max-width: 28rem }}
img {{ max-width: 100%; height: auto }}
svg {{ max-width: 100%; height: auto; font-size: 12px }}
figcaption {{ font-size: .85rem; opacity: .75 }}
</style>
</head>
<body>
"""


def write(directory: Path, newest: dict[str, float] | None = None) -> Path:
    """Writes the page of the run in `directory` anew, with what is there so far; returns its path.

    `newest` is a report that is not recorded yet. Raises InputError if the page cannot be written.
    """
    path = directory / NAME
    write_text(path, page(directory, newest))
    return path


def page(directory: Path, newest: dict[str, float] | None = None) -> str:
    """The page as HTML. Its numbers are also in JSON, in the scripts `curves` and `results`."""
    results = _json(directory / "results.json")
    title = html.escape(f"{directory.parent.name}/{directory.name}")
    parts = [HEAD.format(title=title), f"<h1>{title}</h1>", *_curves(directory, newest)]
    if results:
        parts += _numbers(results)
    parts += _final_pictures(directory)
    parts += _over_time(directory)
    return "\n".join([*parts, "</body>", "</html>", ""])


def _json(path: Path) -> dict[str, Any] | None:
    return json.loads(paths.read_text(path)) if paths.exists(path) else None


def _data(name: str, value: Any) -> str:
    """Numbers for whoever reads the page with a program; a browser does not run them."""
    text = json.dumps(value).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _curves(directory: Path, newest: dict[str, float] | None) -> Iterator[str]:
    series, window = curves.training(directory, newest)
    lines = {name: (x.tolist(), y.tolist()) for name, (x, y) in series.items() if len(x)}
    if not lines:
        return
    yield f"<h2>Training</h2>\n<p>nats against updates; each point is a mean of {window} updates.</p>"
    yield _drawing(lines)
    ends = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{x[-1]:,.0f}</td><td>{y[-1]:.2f}</td></tr>"
        for name, (x, y) in lines.items()
    )
    yield f"<table><tr><th>curve</th><th>last update</th><th>nats</th></tr>{ends}</table>"
    yield _data("curves", lines)


def _drawing(lines: dict[str, tuple[list[float], list[float]]]) -> str:
    """Lines in one frame, whose y axis fits all but the first tenth of each."""
    later = np.concatenate([y[len(y) // 10 :] for _, y in lines.values()])
    low, high = float(np.nanmin(later)), float(np.nanmax(later))
    first, last = min(x[0] for x, _ in lines.values()), max(x[-1] for x, _ in lines.values())
    margin = 0.05 * (high - low) or 1.0
    low, high = low - margin, high + margin

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT) * (x - first) / (last - first or 1)

    def down(y: float) -> float:
        return (HEIGHT - BOTTOM) * (high - min(max(y, low), high)) / (high - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="Training curves">']
    for y in np.linspace(low + margin, high - margin, 5):
        parts.append(f'<path d="M{LEFT} {down(y):.1f}H{WIDTH}" stroke="#8884"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end" fill="currentColor">{y:.1f}</text>')
    for x, anchor in ((first, "start"), (last, "end")):
        at = f'x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}"'
        parts.append(f'<text {at} fill="currentColor">update {x:,.0f}</text>')
    for i, (name, (xs, ys)) in enumerate(lines.items()):
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(xs, ys, strict=True))
        colour = COLOURS[i % len(COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        at = f'x="{LEFT + 20 + 170 * i}" y="{HEIGHT - 4}"'
        parts.append(f'<text {at} fill="{colour}">{html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>"])


def _numbers(results: dict[str, Any]) -> Iterator[str]:
    """The final table."""
    evaluation = results["evaluation"]
    size = "x".join(map(str, evaluation["image_shape"]))
    minutes, dataset = results["training_seconds"] / 60, html.escape(str(results["dataset"]))
    yield f"<h2>Result</h2>\n<p>{results['updates']:,} updates in {minutes:.1f} minutes of training on {dataset}."
    yield f"Mean +- standard error over {evaluation['num_images']:,} test images of {size} pixels,"
    yield f"{evaluation['num_samples']} samples each, seed {evaluation['seed']}.</p>"
    rows = ""
    for term, name in TERMS.items():
        found = evaluation["terms"][term]
        nats, bits = ("{:.2f} +- {:.2f}", "{:.4f} +- {:.4f}")
        cells = (name, nats.format(*found["nats"]), bits.format(*found["bits_per_dimension"]))
        rows += f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
    yield f"<table><tr><th></th><th>nats</th><th>bits per dimension</th></tr>{rows}</table>"
    yield f"<p><code>{html.escape(str(results['command']))}</code></p>"
    yield _data("results", {term: evaluation["terms"][term]["nats"] for term in TERMS})


def _final_pictures(directory: Path) -> Iterator[str]:
    found = [path for kind in ("png", "gif") for path in sorted(directory.glob(f"figures/*.{kind}"))]
    found = [path for path in found if path.name != "training.png"]
    if found:
        yield "<h2>Pictures</h2>"
        yield from (_figure(path, path.stem.replace("_", " ")) for path in found)


def _over_time(directory: Path) -> Iterator[str]:
    """The pictures of some reports, the newest first."""
    by_update: dict[int, list[Path]] = {}
    for path in sorted(directory.glob("reports/*.png")):
        if found := re.fullmatch(r"(\d+)-(.+)", path.stem):
            by_update.setdefault(int(found[1]), []).append(path)
    updates = sorted(by_update, reverse=True)
    if updates:
        yield "<h2>While training</h2>"
    chosen = sorted({round(i) for i in np.linspace(0, len(updates) - 1, min(REPORTS, len(updates)))})
    for update in (updates[i] for i in chosen):
        yield f"<h3>Update {update:,}</h3>"
        yield from (_figure(path, path.stem.partition("-")[2]) for path in by_update[update])


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    kind = path.suffix.removeprefix(".")
    caption = html.escape(caption)
    image = f'<img src="data:image/{kind};base64,{data}" alt="{caption}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"

"""report.html: every number in it is one of the run's files, and it needs nothing but itself."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from made_results import made
from PIL import Image
from tiny_training import tiny_nondoubling

from experiments import pictures, report_page
from vnca_jax import figures, metrics

BOUNDS = {"iwelbo": (-93.125, 0.75), "elbo": (-99.5, 0.8125), "log_px_given_z": (-73.25, 0.5), "kl": (26.25, 0.25)}


class Page(HTMLParser):
    """The page as tables of text, numbers by the name of their script, pictures, drawn lines, and addresses."""

    def __init__(self, text: str):
        super().__init__()
        self.rows, self.numbers, self.pictures, self.lines, self.addresses, self.text = [], {}, {}, [], [], ""
        self._script = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        self.addresses += [given[name] for name in ("src", "href", "srcset", "data", "action") if name in given]
        self._script = given.get("id", "") if tag == "script" else ""
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
        elif tag == "img":
            self.pictures.setdefault(given["alt"], []).append(base64.b64decode(str(given["src"]).split(",")[1]))
        elif tag == "polyline":
            self.lines.append([tuple(map(float, point.split(","))) for point in str(given["points"]).split()])

    def handle_data(self, data):
        if self._script:
            self.numbers[self._script] = json.loads(data)
            self._script = ""
            return
        self.text += data
        if self.rows and self.rows[-1] and self.lasttag == "td" and data.strip():
            self.rows[-1][-1] += data


@pytest.fixture
def run(tmp_path) -> Path:
    """A run of 40 updates, halfway through: metrics, a report, no result yet."""
    folder = tmp_path / "mnist_doubling" / "one"
    recorder = metrics.Metrics(tmp_path_made(folder), step=0, num_updates=40)
    steps = np.arange(1, 41)
    terms = {"loss": 200 / steps + 90, "log_px_given_z": -(200 / steps + 70), "kl": np.full(40, 20.0)}
    recorder.add(1, terms, seconds=40.0)
    recorder.add_report(20, {metrics.HELD_OUT: -100.5, f"{metrics.HELD_OUT}_error": 1.0})
    recorder.close()
    for step in range(1, 13):
        shade = np.full((4, 8, 8, 1), step / 20, np.float32)
        figures.samples(folder / f"reports/{step:06d}-samples.png", shade)
    return folder


def tmp_path_made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_curves_are_those_of_the_metrics(run):
    page = Page(report_page.write(run).read_text())
    steps = np.arange(1, 41).reshape(-1, 2)  # a point is a mean of two updates
    x, y = page.numbers["curves"]["-ELBO"]
    np.testing.assert_allclose(x, steps.mean(axis=1))
    np.testing.assert_allclose(y, (200 / steps + 90).mean(axis=1), rtol=1e-6)
    assert page.numbers["curves"]["-ELBO, held out"] == [[20], [100.5]]
    assert page.rows[1:5] == [
        ["-ELBO", "40", f"{(200 / 39 + 200 / 40) / 2 + 90:.2f}"],
        ["-log p(x|z)", "40", f"{(200 / 39 + 200 / 40) / 2 + 70:.2f}"],
        ["KL", "40", "20.00"],
        ["-ELBO, held out", "20", "100.50"],
    ]
    assert "results" not in page.numbers and "Result" not in page.text


def test_lines_are_drawn_to_scale(run):
    """Each line is an affine map of its numbers, but for the steep beginning, which is cut off at the top."""
    page = Page(report_page.write(run).read_text())
    series = list(page.numbers["curves"].values())
    xs = np.concatenate([x for x, _ in series])
    ys = np.concatenate([y for _, y in series])
    drawn = np.concatenate(page.lines)
    np.testing.assert_allclose(drawn[:, 0], np.interp(xs, [1.5, 39.5], [60, 760]), atol=0.06)
    inside = drawn[:, 1] > 0
    slope, offset = np.polyfit(ys[inside], drawn[inside, 1], 1)
    np.testing.assert_allclose(drawn[inside, 1], slope * ys[inside] + offset, atol=0.06)
    assert slope < 0 and drawn[:, 1].min() == 0
    np.testing.assert_allclose(sorted(ys[~inside]), [148 + 1 / 3, 220, 240], rtol=1e-6)  # the axis ends at 132


def test_a_report_that_is_not_recorded_yet(run):
    page = Page(report_page.write(run, {"step": 40, metrics.HELD_OUT: -95.25}).read_text())
    assert page.numbers["curves"]["-ELBO, held out"] == [[20, 40], [100.5, 95.25]]


def test_the_final_table_is_that_of_the_results(run):
    results = json.loads((made(run.parent / "other") / "results.json").read_text())
    results["evaluation"]["terms"] = {
        name: {"nats": value, "bits_per_dimension": (value[0] / 500, value[1] / 500)} for name, value in BOUNDS.items()
    }
    results["command"] = "python -m experiments.mnist_doubling --name '<b>'"
    (run / "results.json").write_text(json.dumps(results))
    page = Page(report_page.write(run).read_text())
    assert page.numbers["results"] == {name: list(value) for name, value in BOUNDS.items()}
    assert page.rows[-4:] == [
        ["IWELBO", "-93.12 +- 0.75", "-0.1862 +- 0.0015"],
        ["ELBO", "-99.50 +- 0.81", "-0.1990 +- 0.0016"],
        ["log p(x|z)", "-73.25 +- 0.50", "-0.1465 +- 0.0010"],
        ["KL(q(z|x) || p(z))", "26.25 +- 0.25", "0.0525 +- 0.0005"],
    ]
    words = " ".join(page.text.split())
    assert "100,000 updates in 92.3 minutes of training on binarized_mnist." in words
    assert "over 10,000 test images of 32x32x1 pixels, 128 samples each, seed 0." in words
    assert results["command"] in page.text


def test_pictures_over_time(run):
    """Eight of twelve reports, the first and the last among them, newest first, byte for byte."""
    figures.samples(run / "figures" / "sample_means.png", np.full((4, 8, 8, 1), 0.25, np.float32))
    figures.samples(run / "figures" / "training.png", np.full((4, 8, 8, 1), 0.5, np.float32))
    text = report_page.write(run).read_text()
    page = Page(text)
    updates = [int(update) for update in re.findall(r"<h3>Update (\d+)</h3>", text)]
    assert updates == sorted(updates, reverse=True) and (updates[0], updates[-1], len(updates)) == (12, 1, 8)
    assert page.pictures["samples"] == [(run / f"reports/{step:06d}-samples.png").read_bytes() for step in updates]
    assert page.pictures["sample means"] == [(run / "figures/sample_means.png").read_bytes()]
    assert set(page.pictures) == {"samples", "sample means"}  # the curves are drawn, not shown as a picture


def test_it_needs_nothing_else(run):
    text = report_page.write(run).read_text()
    page = Page(text)
    assert page.addresses and all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert "http" not in re.sub("http-equiv", "", text) and "url(" not in text and "@import" not in text
    assert "default-src 'none'" in text and re.findall(r"<script(?! type=\"application/json\")", text) == []


def test_the_damage_row(tmp_path):
    """Samples, the same with their right halves of no opinion, and what the automaton makes of that."""
    model = tiny_nondoubling()
    pictures.damage(tmp_path / "damage.png", model, key=jr.key(3))
    z = jr.normal(jr.split(jr.key(3))[0], (8, 4))
    cells = np.asarray(model.steps(model.seed(z), 3))
    damaged = np.where(np.arange(4)[:, None] >= 2, np.float32(0), cells)
    healed = np.asarray(model.steps(jnp.asarray(damaged), 3))
    rows = [1 / (1 + np.exp(-each[..., :1])) for each in (cells, damaged, healed)]
    figures.rows(tmp_path / "expected.png", [row.astype(np.float32) for row in rows])
    drawn, expected = (np.asarray(Image.open(tmp_path / name), np.int16) for name in ("damage.png", "expected.png"))
    assert np.abs(drawn - expected).max() <= 1 and len(np.unique(drawn)) > 10

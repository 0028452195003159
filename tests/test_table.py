"""The table of all numbers: what counts as the paper's configuration, hand-computed figures, and what is refused."""

import csv
import dataclasses
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from made_results import made

from experiments import cli, mnist_nondoubling, table
from experiments.comparison import compare
from experiments.published import PUBLISHED
from vnca_jax.errors import InputError

ROOT = Path(__file__).parent.parent


def rows_of(found, experiment):
    return [row for row in found.paper if row.published.experiment == experiment]


def test_nothing_has_been_run(tmp_path, capsys):
    table.main(table.Options(runs=(tmp_path,), out=tmp_path / "out"))
    found = json.loads((tmp_path / "out" / "table.json").read_text())
    assert found["other data"] == []
    numbers = [(row["experiment"], row["paper"], row["reproduction"], row["ours"]) for row in found["paper"]]
    assert numbers == [
        ("mnist_doubling", -84.23, [-83.56, -84.15], "not run"),
        ("mnist_nondoubling", -90.97, [-87.92, -89.3], "not run"),
        ("mnist_baseline", None, [-83.88, -84.64], "not run"),
        ("celeba_doubling", 4.42, [], "not run"),
        ("celeba_doubling", 5.4, [], "not run"),
        ("celeba_nondoubling", 5.03, [], "not run"),
        ("celeba_baseline", None, [], "not run"),
        ("emoji_doubling", 3.09, [], "not run"),
    ]
    assert capsys.readouterr().out.count("not run") == 9  # and that of the digits
    for line in (tmp_path / "out" / "table.md").read_text().splitlines():
        assert not line.startswith("|") or all(cell.strip() for cell in line.strip("|").split("|"))


def test_a_run_of_the_papers_configuration(tmp_path):
    silent: dict[str, Any] = {
        "out": "elsewhere",
        "name": "x",
        "chunk_size": 4,
        "num_devices": 8,
        "report_every": 7,
        "seed": 3,
    }
    made(tmp_path / "a", bound=(-84.65, 0.9), **silent, data_dir="/data", keep_checkpoints=1, checkpoint_minutes=1.0)
    made(tmp_path / "b", "mnist_nondoubling", bound=(-90.06, 0.9), num_states=7, step_counts=[3])
    made(tmp_path / "c", "mnist_baseline", bound=(-82.2024, 0.7), limit=10_000)
    found = compare([tmp_path])
    assert [row.differences for row in found.paper] == [()] * len(PUBLISHED)
    doubling, nondoubling, baseline, *_ = found.paper
    assert doubling.ours() == (-84.65, 0.9)
    assert doubling.difference() == pytest.approx(-0.498635, rel=1e-5)  # -0.42 / 84.23
    assert nondoubling.difference() == pytest.approx(1.000330, rel=1e-5)  # 0.91 / 90.97
    assert baseline.difference() == pytest.approx(2.0, rel=1e-9)  # 1.6776 / 83.88
    assert [table.difference(row) for row in found.paper[:3]] == [
        "0.50 % worse than the paper",
        "1.00 % better than the paper",
        "2.00 % better than the reproduction's -83.88",
    ]
    cells = table.cells(doubling, 1)
    assert (cells["ours"], cells["images x samples"], cells["updates"]) == (
        *("-84.65 +- 0.90 [1]", "10,000 x 128"),
        "100,000",
    )
    assert (cells["device"], cells["training + evaluation"]) == ("8 x TPU v3", "1 h 32 min + 2 min")
    assert (cells["error over"], cells["seeds"]) == ("test images", "3")
    assert cells["command"] == "python -m experiments.mnist_doubling --name a"


SMALL: dict[str, Any] = {
    "latent_size": 32,
    "hidden_size": 32,
    "steps_per_doubling": 4,
    "num_updates": 6000,
    "limit": 1000,
}
LABELS = [
    ("mnist_doubling", SMALL, ["32 channels", "M = 4", "6,000 updates", "1,000 of 10,000 test images"]),
    ("mnist_doubling", {"latent_size": 64}, ["latent size 64"]),
    ("mnist_doubling", {"num_updates": 120_000}, ["120,000 updates"]),
    ("mnist_doubling", {"learning_rate": 0.002, "batch_size": 64}, ["batch size 64", "learning rate 0.002"]),
    ("mnist_doubling", {"cooldown_updates": 2400}, ["the last 2,400 with a falling learning rate"]),
    ("mnist_doubling", {"num_samples": 16}, ["16 samples"]),
    (
        "mnist_doubling",
        {"num_doublings": 3, "num_mixtures": 4, "one_per_scale": True},
        ["K = 3 and so 16x16 pixels", "L = 4", "an update network for each scale"],
    ),
    ("mnist_doubling", {"unheard_of": "yes"}, ["unheard of yes"]),
    ("mnist_nondoubling", {"num_steps": 36, "beta": 0.5}, ["T = 36", "beta = 0.5"]),
    ("mnist_nondoubling", {"pool_size": 2048}, ["P = 2,048"]),
    ("mnist_baseline", {"image_size": 32}, ["image size 32"]),
]


@pytest.mark.parametrize(("experiment", "changes", "label"), LABELS, ids=[" ".join(label) for _, _, label in LABELS])
def test_another_configuration_is_a_row_of_its_own(experiment, changes, label, tmp_path):
    made(tmp_path / "run", experiment, **changes)
    papers, ours = rows_of(compare([tmp_path]), experiment)
    assert (papers.differences, papers.results) == ((), ())
    assert (list(ours.differences), len(ours.results)) == (label, 1)
    assert table.cells(ours, 1)["model"] == f"{papers.published.model} with {', '.join(label)}"


def test_a_flag_that_the_run_did_not_know(tmp_path):
    path = made(tmp_path / "run") / "results.json"
    facts = json.loads(path.read_text())
    del facts["config"]["num-blocks"]
    facts["evaluation"]["num_images"] = 9_999
    path.write_text(json.dumps(facts))
    _, ours = rows_of(compare([tmp_path]), "mnist_doubling")
    assert ours.differences == ("9,999 test images, not 10,000",)


def test_seeds(tmp_path):
    for seed, bound in enumerate((-84.0, -85.0, -86.0)):
        made(tmp_path / "runs" / f"seed{seed}", seed=seed, bound=(bound, 0.9))
        made(tmp_path / "runs" / f"small{seed}", seed=seed, bound=(bound, 0.9), num_updates=1000 * (1 + (seed == 2)))
    papers, *small = rows_of(compare([tmp_path]), "mnist_doubling")
    mean, error = papers.ours()
    assert (mean, error) == (pytest.approx(-85.0, rel=1e-12), pytest.approx(0.5773503, rel=1e-6))  # 1 / sqrt(3)
    assert papers.difference() == pytest.approx(-0.914164, rel=1e-5)  # -0.77 / 84.23
    cells = table.cells(papers, 1)
    assert (cells["ours"], cells["error over"]) == ("-85.00 +- 0.58 (3 seeds) [1]", "3 seeds")
    assert [(row.differences, [r.seed for r in row.results]) for row in small] == [
        (("1,000 updates",), [0, 1]),
        (("2,000 updates",), [2]),
    ]
    assert small[0].ours() == (-84.5, pytest.approx(0.5, rel=1e-12))


def test_a_seed_counts_once(tmp_path):
    for name, bound in (("a", -84.0), ("copy", -84.0), ("on_another_device", -84.01)):
        made(tmp_path / name, bound=(bound, 0.9))
    found = compare([tmp_path, tmp_path / "a"])
    [row] = rows_of(found, "mnist_doubling")
    assert ([r.folder.name for r in row.results], row.ours()) == (["a"], (-84.0, 0.9))
    [warning] = found.warnings
    assert "on_another_device" in warning and "same seed" in warning


def test_runs_on_the_digits_are_another_table(tmp_path, capsys):
    made(tmp_path / "a", preset="cpu", bound=(-17.67, 0.2))
    made(tmp_path / "b", preset="cpu", bound=(-17.0, 0.2), latent_size=16)
    table.main(table.Options(runs=(tmp_path,), out=tmp_path))
    found = json.loads((tmp_path / "table.json").read_text())
    assert {row["ours"] for row in found["paper"]} == {"not run"}
    columns = ("data", "differs in", "paper", "ours", "standard error", "better by, %", "images")
    assert [[row[name] for name in columns] for row in found["other data"]] == [
        ["digits", [], None, -17.67, 0.2, None, 360],
        ["digits", ["latent size 16"], None, -17.0, 0.2, None, 360],
    ]
    first, second = capsys.readouterr().out.split("The same models on the embedded digits")
    assert "-17.67" not in first and "-17.67 +- 0.20" in second and "-84.23" not in second


@pytest.fixture
def celeba_doubling(monkeypatch):
    """A module that does not exist yet, with presets."""
    module = types.ModuleType("experiments.celeba_doubling")
    module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
    paper = dataclasses.replace(mnist_nondoubling.PRESETS["paper"], data=cli.DataConfig("celeba"))
    monkeypatch.setattr(module, "PRESETS", {"paper": paper}, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.usefixtures("celeba_doubling")
def test_bits_per_dimension_and_two_rows_of_one_experiment(tmp_path):
    made(tmp_path / "a", "celeba_doubling", dataset="celeba", bpd=(4.5, 0.004))
    made(tmp_path / "b", "celeba_doubling", dataset="celeba", bpd=(5.35, 0.004), beta=100.0)
    made(tmp_path / "c", "celeba_doubling", dataset="celeba", bpd=(5.6, 0.004), beta=100.0, num_updates=5)
    rows = rows_of(compare([tmp_path]), "celeba_doubling")
    assert [(row.published.paper, row.differences, row.ours()) for row in rows] == [
        ("4.42", (), (4.5, 0.004)),
        ("5.40", (), (5.35, 0.004)),
        ("5.40", ("5 updates",), (5.6, 0.004)),
    ]
    assert rows[0].difference() == pytest.approx(-1.809955, rel=1e-6)  # 0.08 / 4.42 more bits, so worse
    assert rows[1].difference() == pytest.approx(0.925926, rel=1e-6)  # 0.05 / 5.40 fewer
    assert table.cells(rows[0], 1)["ours"] == "4.500 +- 0.004 [1]"


def test_a_run_whose_experiment_has_no_presets(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    made(tmp_path / "a", "celeba_doubling", dataset="celeba", bpd=(4.5, 0.004))
    made(tmp_path / "b", "celeba_doubling", dataset="celeba", bpd=(5.5, 0.004), beta=100.0)
    rows = rows_of(compare([tmp_path]), "celeba_doubling")
    unknown = ("a configuration that could not be compared",)
    assert [(row.published.paper, row.differences, len(row.results)) for row in rows] == [
        *(("4.42", (), 0), ("4.42", unknown, 1)),
        *(("5.40", (), 0), ("5.40", unknown, 1)),
    ]


def test_files_that_hold_no_run(tmp_path, capsys):
    good = (made(tmp_path / "runs" / "good", bound=(-84.65, 0.9)) / "results.json").read_text()
    broken = {
        "half": good[: len(good) // 2].encode(),
        "empty": b"",
        "binary": b"\xff\xfe\x00",
        "list": b"[1, 2]",
        "analysis": b'{"experiment": "mnist_doubling", "recovery": {}}',
        "nan": good.replace("-84.65", "NaN").encode(),
        "other": good.replace('"experiment": "mnist_doubling"', '"experiment": "../cli"').encode(),
        "deep": b"[" * 100_000,
        "huge": good.replace('"updates": 100000', '"updates": 1e999').encode(),
    }
    for name, content in broken.items():
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "results.json").write_bytes(content)
    (tmp_path / "runs" / "folder" / "results.json").mkdir(parents=True)
    table.main(table.Options(runs=(tmp_path / "runs",), out=tmp_path))
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert len(lines) == len(broken) + 1 and all(line.startswith("warning: ") for line in lines)
    assert all(sum(f"/{name}/results.json" in line for line in lines) == 1 for name in (*broken, "folder"))
    assert "it has no 'evaluation'" in said.err
    assert said.out.count("-84.65 +- 0.90") == 1


def test_the_terminal_is_aligned(tmp_path):
    made(tmp_path / "a", **SMALL)
    first, _ = table.terminal(compare([tmp_path])).split("The same models")
    _, _, header, *_ = lines = first.splitlines()
    starts = [header.index(name.split()[0]) for name in table.WIDTHS]
    assert max(map(len, lines)) <= 140
    for line in lines[2:]:
        padded = line.ljust(140)
        assert set(line) == {"-"} or all(padded[start - 2 : start] == "  " for start in starts[1:]), line


def test_csv(tmp_path):
    made(tmp_path / "a", bound=(-84.65, 0.9))
    table.main(table.Options(runs=(tmp_path,), out=tmp_path))
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert [float(rows[0][name]) for name in ("paper", "ours", "standard error", "images")] == [
        *(-84.23, -84.65, 0.9),
        10_000,
    ]
    assert [row["ours"] for row in rows[1:]] == ["not run"] * 7
    assert all(value for row in rows for value in row.values())


def test_refusals(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"--runs is {tmp_path}/file, but there is no such folder"):
        table.main(table.Options(runs=(tmp_path / "file",)))
    with pytest.raises(InputError, match=f"{tmp_path}/file/table.md cannot be written"):
        table.main(table.Options(runs=(tmp_path,), out=tmp_path / "file"))
    with pytest.raises(InputError, match="--readme is /nowhere/README.md, but it must be a Markdown file. /nowhere/"):
        table.main(table.Options(runs=(tmp_path,), out=tmp_path, readme=(Path("/nowhere/README.md"),)))
    command = [sys.executable, "-m", "experiments.table", "--runs", str(tmp_path), "/nowhere/runs"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: --runs is /nowhere/runs, but there is no such folder; name folders that hold runs.\n"

"""`python -m vnca_jax`: which commands it lists, and with what words."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vnca_jax import __main__ as overview
from vnca_jax.errors import InputError

ROOT = Path(__file__).parent.parent
COMMAND = """'''{text}

    python -m {name} --flag
'''

if __name__ == "__main__":
    raise SystemExit("it ran")
"""


@pytest.fixture
def root(tmp_path) -> Path:
    """A project with one command of the package, two experiments and what is no command."""
    for name, text in (
        ("vnca_jax/eval.py", "Bounds of a\nmodel: `python -m vnca_jax.eval`."),
        ("experiments/slow.py", "What takes long: Fig. 3."),
        ("experiments/asked.py", "Does it heal? A test."),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(COMMAND.format(text=text, name=name.removesuffix(".py").replace("/", ".")))
    (tmp_path / "experiments" / "shared.py").write_text('"""What experiments share."""\n')
    (tmp_path / "experiments" / "empty.py").write_text("")
    return tmp_path


def test_the_words(root):
    assert overview.commands(root / "experiments") == {
        "experiments.asked": "Does it heal? A test.",
        "experiments.slow": "What takes long: Fig. 3.",
    }
    assert overview.overview(root, 80) == (
        "Commands; start one with `python -m` and its name.\n"
        "\n"
        "A trained model:\n"
        "  vnca_jax.eval      Bounds of a model. Also `vnca eval`.\n"
        "\n"
        "Experiments:\n"
        "  experiments.asked  Does it heal? A test.\n"
        "  experiments.slow   What takes long: Fig. 3.\n"
        "\n"
        "Each shows its flags, with their defaults, with --help. A first one, of minutes:\n"
        "  python -m experiments.mnist_doubling --preset cpu"
    )


def test_without_experiments(root):
    shutil.rmtree(root / "experiments")
    said = overview.overview(root, 120)
    assert (
        "  vnca_jax.eval  Bounds of a model. Also `vnca eval`.\n\nThe experiments are not beside the package (" in said
    )
    assert "they run in a clone of the project" in said.replace("\n", " ") and "mnist_doubling" not in said


def test_lines_are_no_wider_than_the_terminal():
    for columns, widest in ((30, 60), (80, 80), (300, 120)):
        lines = overview.overview(ROOT, columns).splitlines()
        assert widest - 15 < max(map(len, lines)) <= widest


def test_as_a_command():
    ended = subprocess.run(
        [sys.executable, "-m", "vnca_jax"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == overview.overview(ROOT, 100) + "\n"
    assert (
        "\n  vnca_jax.eval                     Test bounds of a trained model, with standard errors. Also"
        in ended.stdout
    )
    assert "\n  benchmarks.train_step             One training step of the doubling VNCA on CPU" in ended.stdout


def test_what_it_refuses(capsys):
    overview.main(["--help"])
    assert "Experiments:" in capsys.readouterr().out
    with pytest.raises(InputError) as error:
        overview.main(["evl"])
    assert str(error.value) == (
        "vnca was given 'evl', but knows eval and export alone; `vnca --help` lists what there is; did you mean 'eval'?"
    )


def test_what_it_starts(monkeypatch):
    started = []
    for module in ("eval", "onnx"):
        monkeypatch.setattr(f"vnca_jax.{module}.command", lambda *arguments: started.append(arguments))
    overview.main(["eval", "--ckpt", "x"])
    overview.main(["export", "--out", "y"])
    assert started == [("vnca eval", ["--ckpt", "x"]), ("vnca export", ["--out", "y"])]

"""What the Kaggle notebooks share: the accelerator, what is installed for it, commands in a cell, runs that go on."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from test_notebooks import loaded

ROOT = Path(__file__).parent.parent
NOT_INSTALLED = "a-package-that-nobody-has>=1"


@pytest.fixture
def session() -> ModuleType:
    return loaded("session")


@pytest.mark.parametrize(
    ("node", "driver", "kind", "extra"),
    [
        ("accel0", None, "tpu", "jax[tpu]"),
        ("vfio/0", None, "tpu", "jax[tpu]"),
        ("vfio/vfio", None, "", None),  # the folder's control device, which any host has
        ("null", "580.65.06", "cuda", "jax[cuda13]"),
        ("null", "560.35.03", "cuda", "jax[cuda12]"),
        ("null", "", "", None),  # the tool of an image without a GPU
    ],
)
def test_accelerator(session, node, driver, kind, extra, tmp_path, monkeypatch):
    (tmp_path / "dev" / node).parent.mkdir(parents=True)
    (tmp_path / "dev" / node).touch()
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{f'echo {driver}' if driver else 'exit 9'}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) if driver is not None else str(tmp_path / "nothing"))
    assert session.accelerator(tmp_path / "dev") == kind
    always, of_kind = session.requirements(kind)
    assert always[0].startswith("jax>=") and [text.split(">=")[0] for text in of_kind] == ([extra] if extra else [])


def test_what_is_missing(session):
    here = ["numpy>=2", session.requirements("")[0][0], "packaging"]
    assert session.missing(here) == []
    assert session.missing([*here, "numpy<2", NOT_INSTALLED]) == ["numpy<2", NOT_INSTALLED]
    assert session.missing(["jax[tpu]>=0.10", "jax[cuda13]"]) == ["jax[tpu]>=0.10", "jax[cuda13]"]  # without libtpu


def test_pip_is_asked_for_what_is_missing_and_for_the_accelerators_jax(session, monkeypatch, capsys):
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="tpu 8 x TPU v5 lite\n", stderr="")

    monkeypatch.setattr(session, "accelerator", lambda: "tpu")
    monkeypatch.setattr(session.subprocess, "run", run)
    session.install()
    pip, devices = asked
    assert pip[1:4] == ["-m", "pip", "install"] and pip[-3:-1] == ["--editable", str(ROOT)]
    assert pip[-1].startswith("jax[tpu]>=") and devices[1] == "-c"
    assert "on 8 x TPU v5 lite" in capsys.readouterr().out


def test_a_tpu_that_jax_does_not_see(session, monkeypatch):
    monkeypatch.setattr(session, "accelerator", lambda: "tpu")
    monkeypatch.setattr(session, "missing", lambda wanted: [])
    monkeypatch.setattr(session, "DEVICES", "print('cpu 4 x cpu')")
    with pytest.raises(RuntimeError, match="There is a TPU, but JAX sees 4 x cpu; restart the session"):
        session.install()


def test_progress_bars_do_not_flood_the_notebook(session, monkeypatch):
    written = b"first\n\r  0%\r  1%\r  2%\nsecond\r\n\r  5%\r 50%\r100%\nlast"
    assert list(session.shown(session.as_lines(io.BytesIO(written)))) == [
        *("first", "  0%", "  2%", "second", "100%", "last")
    ]
    monkeypatch.setattr(session, "PROGRESS_SECONDS", 0.0)
    all_lines = [line.strip() for line in session.shown(session.as_lines(io.BytesIO(written)))]
    assert all_lines == ["first", "0%", "1%", "2%", "second", "5%", "50%", "100%", "last"]


@pytest.fixture
def project(session, tmp_path, monkeypatch):
    """A project with a module that ends with the exit code it is given, or when it is interrupted."""
    monkeypatch.setattr(session, "PROJECT", tmp_path)
    (tmp_path / "ending.py").write_text(
        "import sys, time\n"
        "try:\n"
        "    print('begins', file=sys.stderr)\n"
        "    if len(sys.argv) > 1:\n"
        "        sys.exit(int(sys.argv[1]))\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    print('saves')\n"
        "    sys.exit(75)\n"
    )
    return tmp_path


@pytest.mark.usefixtures("project")
def test_how_a_command_ends(session, capsys):
    assert [session.run("ending", code) for code in (0, 75)] == [0, session.STOPPED]
    with pytest.raises(RuntimeError, match=r"python -m ending ended with exit code 2; what it printed says why"):
        session.run("ending", 2)
    assert capsys.readouterr().out == "begins\n" * 3


def test_a_command_saves_when_its_cell_is_interrupted(project):
    """The kernel's whole process group is interrupted, as Jupyter does it."""
    code = "import session, pathlib, sys; session.PROJECT = pathlib.Path(sys.argv[1]); print(session.run('ending'))"
    command = [sys.executable, "-uc", code, str(project)]
    variables = os.environ | {"PYTHONPATH": str(ROOT / "kaggle")}
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as cell:
        assert cell.stdout is not None and cell.stdout.readline() == "begins\n"
        os.killpg(cell.pid, signal.SIGINT)
        assert cell.stdout.read() == "saves\n75\n"


def test_the_run_that_has_come_furthest_goes_on(session, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "INPUT", tmp_path / "input")
    monkeypatch.setattr(session, "WORKING", tmp_path / "working")
    run = tmp_path / "working/runs/mnist_doubling/cpu"
    assert session.resume("mnist_doubling", "cpu") == run and not run.exists()
    for place, steps in (("vnca", (5,)), ("notebooks/somebody/vnca", (20, 100)), ("notebooks/x/y/z", (99,))):
        for step in steps:
            saved = tmp_path / f"input/{place}/runs/mnist_doubling/cpu/checkpoints/{step}/default"
            saved.mkdir(parents=True)
            (saved / "array").write_text(f"{place} {step}")
    session.resume("mnist_doubling", "cpu")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["100", "20"]
    assert (run / "checkpoints/100/default/array").read_text() == "notebooks/somebody/vnca 100"
    (run / "checkpoints/101").mkdir()
    assert session.resume("mnist_doubling", "cpu") == run and session.last_update(run) == 101

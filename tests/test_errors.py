"""What a command says when nobody reads it any more, and on a terminal that lacks the letters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORK = """
import pathlib, sys, time
from vnca_jax.errors import InputError, Stopped, reported
with reported():
    print("first", flush=True)
    for line in range(20_000):
        print("line", line)
        print("line", line, file=sys.stderr)
    pathlib.Path(sys.argv[1]).write_text("written")
    {end}
"""


def program(end: str = "pass") -> list[str]:
    return [sys.executable, "-c", WORK.replace("{end}", end)]


@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("raise InputError('no')", 2), ("raise Stopped('later')", 75)])
@pytest.mark.parametrize("both", [False, True])
def test_a_closed_pipe(tmp_path, end, code, both):
    """As `| head -1`: the reader goes after the first line, and the work is done all the same."""
    error = subprocess.STDOUT if both else subprocess.PIPE
    with subprocess.Popen(
        [*program(end), str(tmp_path / "file")], cwd=ROOT, stdout=subprocess.PIPE, stderr=error
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"first\n"
        child.stdout.close()
        said = b"" if child.stderr is None else child.stderr.read()
        assert child.wait() == code
    assert (tmp_path / "file").read_text() == "written"
    assert b"Broken" not in said and b"Traceback" not in said


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_are_missing(encoding):
    """Of a name that is not UTF-8, and of a terminal that is not."""
    work = "from vnca_jax.errors import reported\nwith reported():\n    print('caf\\udce9 ≥ é')"
    ended = subprocess.run(
        [sys.executable, "-c", work], cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True,
        check=True,
    )  # fmt: skip
    expected = {"ascii": b"caf\\udce9 \\u2265 \\xe9\n", "latin-1": b"caf\\udce9 \\u2265 \xe9\n"}
    assert ended.stdout == expected.get(encoding, "caf\\udce9 ≥ é\n".encode())


def test_help_into_a_closed_pipe():
    command = [sys.executable, "-m", "vnca_jax"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b"" and child.wait() == 0


def test_an_error_is_said_even_if_the_process_ends_at_once():
    """As one of several processes does, which does not wait for Python's ordinary end."""
    work = """
import os
from vnca_jax.errors import InputError, reported
with reported():
    try:
        with reported():
            raise InputError("no")
    finally:
        os._exit(2)
"""
    ended = subprocess.run([sys.executable, "-c", work], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "error: no\n")

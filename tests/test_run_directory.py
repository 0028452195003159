"""A run directory belongs to one process, and to one configuration."""

import json
import os
import subprocess
import sys
from pathlib import Path

import modes
import pytest

from experiments import analysis, cli
from vnca_jax import run_directory
from vnca_jax.errors import InputError
from vnca_jax.run_directory import check_can_be_written, check_config, check_name, claim
from vnca_jax.writing import write_json

ROOT = Path(__file__).parent.parent
CLAIM = """
import sys, pathlib, types
sys.modules["vnca_jax"] = types.ModuleType("vnca_jax")  # in the place of the public names, whose import takes seconds
sys.modules["vnca_jax"].__path__ = ["vnca_jax"]
import vnca_jax.errors, vnca_jax.run_directory
with vnca_jax.errors.reported(), vnca_jax.run_directory.claim(pathlib.Path(sys.argv[1])):
    print("claimed", flush=True)
    sys.stdin.read()
"""


def claiming(directory: Path) -> subprocess.Popen:
    """Another process, which claims `directory` and holds it until its input ends."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(directory)], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def test_one_process_at_a_time(tmp_path):
    directory = tmp_path / "runs" / "a"
    sentence = f"The run directory {directory} is in use by another process; wait for it, or choose another --name."
    with claim(directory):
        refused = claiming(directory)
        assert refused.communicate() == ("", f"error: {sentence}\n")
        assert refused.returncode == 2
        with claim(tmp_path / "runs" / "b"):  # another directory is free
            pass
    holder = claiming(directory)
    assert holder.stdout is not None and holder.stdout.readline() == "claimed\n"
    with pytest.raises(InputError) as error, claim(directory):
        pass
    assert str(error.value) == sentence
    holder.kill()  # SIGKILL, which leaves the holder no time to clean up
    holder.communicate()
    with claim(directory):
        pass


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for directory, reason in ((tmp_path / "file" / "a", "Not a directory"), (tmp_path / "file", "File exists")):
        with pytest.raises(InputError) as error, claim(directory):
            pass
        expected = f"The run directory {directory} cannot be written ({reason}); choose another with --out."
        assert str(error.value) == expected


MAY_CHANGE = frozenset(["num-updates", "limit"])
CONFIG = {"seed": 0, "num-updates": 10, "learning-rate": 1e-3, "limit": None, "name": "é"}


def test_the_same_configuration_goes_on(tmp_path):
    for config in (CONFIG, CONFIG, CONFIG | {"num-updates": 20, "limit": 5}):
        check_config(tmp_path, config, MAY_CHANGE)
        assert json.loads((tmp_path / "config.json").read_text()) == config
    assert os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize(
    ("changed", "flag", "before", "now"),
    [
        ({"seed": 1}, "seed", "0", "1"),
        ({"num-updates": 20, "seed": 1}, "seed", "0", "1"),
        ({"learning-rate": 2e-3, "seed": 1}, "learning-rate", "0.001", "0.002"),
        ({"new": True}, "new", "None", "True"),
        ({"limit": 3, "name": "e"}, "name", "é", "e"),
    ],
)
def test_another_configuration_is_refused(tmp_path, changed, flag, before, now):
    check_config(tmp_path, CONFIG, MAY_CHANGE)
    with pytest.raises(InputError) as error:
        check_config(tmp_path, CONFIG | changed, MAY_CHANGE)
    assert str(error.value) == (
        f"{tmp_path} holds a run with --{flag} {before}, and now --{flag} {now} is asked for; "
        "use the same value to resume it, or another --name to start a new run."
    )
    assert json.loads((tmp_path / "config.json").read_text()) == CONFIG


def test_a_flag_that_the_run_did_not_know(tmp_path):
    """It had its default: a run of an earlier version goes on, unless the flag is given another value now."""
    check_config(tmp_path, CONFIG, MAY_CHANGE)
    check_config(tmp_path, CONFIG | {"new": 0.0}, MAY_CHANGE, {"new": 0.0, "seed": 7})
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(InputError, match="a run with --new 0.0, and now --new 0.5 is asked for"):
        check_config(tmp_path, CONFIG | {"new": 0.5}, MAY_CHANGE, {"new": 0.0})


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe", b"[" * 200_000])
def test_a_file_that_is_no_configuration(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        check_config(tmp_path, CONFIG, MAY_CHANGE)
    expected = f"{path} is not a run's configuration; choose another --name, or remove the folder."
    assert str(error.value) == expected
    assert path.read_bytes() == content


def test_json_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_json(path, {"a": [1.5, "é"]})
    assert json.loads(path.read_text()) == {"a": [1.5, "é"]}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})  # a bug, which still must not destroy what is there

    def fill_the_disk(path, content):
        with open(path, "wb") as file:
            file.write(content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(InputError) as error:
        write_json(path, {"b": 2})
    monkeypatch.undo()
    expected = f"{path} cannot be written (No space left on device); free some space or choose another folder."
    assert str(error.value) == expected
    assert json.loads(path.read_text()) == {"a": [1.5, "é"]}
    assert os.listdir(tmp_path) == ["results.json"]

    monkeypatch.setattr(run_directory.os, "replace", lambda *paths: 1 / 0)  # killed before the rename
    with pytest.raises(ZeroDivisionError):
        write_json(path, {"c": 3})
    assert json.loads(path.read_text()) == {"a": [1.5, "é"]}


def test_what_cannot_be_written_is_found_before_training(tmp_path):
    directory = tmp_path / "run"
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "metrics.jsonl").touch()
    for path in (directory / "metrics.jsonl", directory / "checkpoints", directory):
        with modes.closed(path, 0o555), pytest.raises(InputError) as error, claim(directory):
            pass
        assert str(error.value) == (
            f"The run directory {directory} cannot be written (Permission denied: {path.name}); choose another with "
            "--out."
        )
    with modes.closed(tmp_path), pytest.raises(InputError) as error, claim(directory):
        pass
    assert "(Permission denied)" in str(error.value) and "free some space" not in str(error.value)
    with modes.closed(directory, 0o555), pytest.raises(InputError) as error:
        write_json(directory / "results.json", {})
    assert str(error.value) == (
        f"{directory / 'results.json'} cannot be written (Permission denied); choose another folder."
    )
    with claim(directory):
        pass


def test_a_configuration_that_is_closed(tmp_path):
    check_config(tmp_path, {"seed": 0}, frozenset())
    with (
        modes.closed(tmp_path / "config.json"),
        pytest.raises(InputError, match="config.json cannot be read .Permission"),
    ):
        check_config(tmp_path, {"seed": 0}, frozenset())


def test_a_configuration_that_another_system_has_rewritten(tmp_path):
    check_config(tmp_path, {"seed": 0}, frozenset())
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    check_config(tmp_path, {"seed": 0}, frozenset())


def test_where_one_file_goes(tmp_path):
    def refused(path):
        with pytest.raises(InputError) as error:
            check_can_be_written("--json", path)
        return str(error.value)

    check_can_be_written("--json", tmp_path / "found.json")
    nowhere = tmp_path / "nowhere" / "x"
    assert refused(nowhere) == f"--json is {nowhere}, but there is no folder {nowhere.parent}; make it first."
    assert refused(tmp_path) == f"--json is {tmp_path}, which is a folder; name another file."
    with modes.closed(tmp_path, 0o555):
        assert refused(tmp_path / "x").endswith("/x, which cannot be written (Permission denied); name another file.")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "..", "~/x"])
def test_names_that_lead_out(name):
    with pytest.raises(InputError) as error:
        check_name(name)
    assert str(error.value) == f"--name is {name}, which leads out of --out: give a name, and the folder with --out."


def test_names_that_do_not():
    for name in ("", "cpu", "a.b", "beta100/seed3", "..x"):
        check_name(name)


def test_both_kinds_of_runs_check_their_names():
    for config in (cli.RunConfig, analysis.RunConfig):
        with pytest.raises(InputError, match=r"^--name is ../../x, which leads out of --out"):
            config(name="../../x")


def test_without_what_windows_lacks():
    program = "import os, signal, sys; sys.modules['fcntl'] = None; del signal.SIGHUP, signal.SIGUSR1, os.getuid\n"
    program += "import vnca_jax.eval; print(len(vnca_jax.train.STOPPING))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("2\n", 0), ended.stderr

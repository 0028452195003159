"""Paths that a user has named: what is closed, where the home folder is, texts as people have them."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import modes
import pytest
from tiny_pictures import use_tmp_path_only

from vnca_jax import data, paths
from vnca_jax.data import folders
from vnca_jax.errors import InputError

ROOT = Path(__file__).parent.parent


def refused(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    return str(error.value)


def test_home(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert paths.expanded("~/runs") == Path("/somewhere/runs") and paths.expanded(Path("a/~b")) == Path("a/~b")
    assert refused(paths.expanded, "~nosuchuser/x") == (
        "~nosuchuser/x begins with a home folder that this machine does not know: write the whole path."
    )


def test_without_a_home(monkeypatch, tmp_path):
    def unknown(_):
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("VNCA_CACHE_DIR", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert folders.own_cache_folder() is None
    assert folders.cache_folder(None) == tmp_path / f"vnca_jax-{os.getuid()}"
    assert "begins with a home folder" in refused(paths.expanded, "~/x")
    monkeypatch.setenv("VNCA_CACHE_DIR", str(tmp_path / "named"))
    assert folders.own_cache_folder() == tmp_path / "named"


def test_closed_folders(tmp_path):
    inside = tmp_path / "closed" / "file"
    inside.parent.mkdir()
    inside.write_bytes(b"content")
    assert paths.is_file(inside) and not paths.is_folder(inside) and paths.read_bytes(inside) == b"content"
    assert not paths.exists(inside / "below a file") and not paths.exists(tmp_path / "nothing")
    with modes.closed(inside.parent):
        for look in (paths.exists, paths.is_file, paths.is_folder, paths.read_bytes):
            assert refused(look, inside) == (
                f"{inside} cannot be looked at (Permission denied): allow it, or name another folder."
            )
        assert refused(paths.names_in, inside.parent) == (
            f"The folder {inside.parent} cannot be read (Permission denied): allow it, or name another folder."
        )
    with modes.closed(inside):
        assert refused(paths.read_bytes, inside) == (
            f"{inside} cannot be read (Permission denied): allow it, or name another folder."
        )
    assert refused(paths.read_bytes, tmp_path, "replace it by the official file") == (
        f"{tmp_path} cannot be read (Is a directory): replace it by the official file."
    )


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refused(paths.read_bytes, tmp_path / "pipe") == (
        f"{tmp_path / 'pipe'} is a pipe or a device and no file: replace it."
    )


@pytest.mark.parametrize(
    "content",
    [
        b"a,\xc3\xa4\nb\n",
        b"\xef\xbb\xbfa,\xc3\xa4\r\nb\r\n",
        "a,ä\r\nb\r\n".encode("utf-16"),
        "\ufeffa,ä\nb\n".encode("utf-16-be"),
    ],
)
def test_texts(tmp_path, content):
    (tmp_path / "text").write_bytes(content)
    assert paths.read_text(tmp_path / "text") == "a,ä\nb\n"


def test_what_is_no_text(tmp_path):
    (tmp_path / "text").write_bytes(b"\xe4\n")
    assert refused(paths.read_text, tmp_path / "text") == (
        f"{tmp_path / 'text'} cannot be read (it is no UTF-8 text): replace it."
    )


@pytest.mark.parametrize("name", ["binarized_mnist", "celeba", "emoji", "fashion_mnist", "folder", "folder_binary"])
@pytest.mark.parametrize("closed", [".", ".."])
def test_every_dataset_in_a_closed_folder(tmp_path, monkeypatch, name, closed):
    use_tmp_path_only(tmp_path, monkeypatch)
    given = tmp_path / "above" / "given"
    given.mkdir(parents=True)
    with modes.closed((given / closed).resolve()):
        said = refused(data.load, name, data_dir=given, download=False)
        assert str(given) in said and "(Permission denied): allow it" in said
        if not name.startswith("folder"):
            monkeypatch.setenv("VNCA_DATA_DIR", str(given))
            assert "(Permission denied): allow it" in refused(data.load, name, download=False)


# Flags


@dataclasses.dataclass(frozen=True)
class Part:
    """Options."""

    out: Path = Path("runs")
    ckpt: tuple[Path, ...] = ()
    json: Path | None = None
    name: str = "~/a"


@dataclasses.dataclass(frozen=True)
class Whole:
    """Parts of options."""

    part: Part
    other: Path


def test_all_paths_among_options(monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    given = Whole(Part(Path("~/runs"), (Path("pretrained:x"), Path("~/b")), None), Path("~"))
    assert paths.expanded_in(given) == Whole(
        Part(Path("/h/runs"), (Path("pretrained:x"), Path("/h/b")), None, "~/a"), Path("/h")
    )


def test_every_command_expands_its_flags():
    """Each call of tyro.cli stands in one of expanded_in, or its result is the argument of one."""
    files = [path for folder in ("vnca_jax", "experiments", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    calls = 0
    for path in files:
        source = path.read_text()
        count = source.count("tyro.cli(")
        calls += count
        assert source.count("paths.expanded_in(") == count, path
    assert calls >= 9


@pytest.mark.parametrize("flag", ["--data-dir=~/pictures", "--data-dir ~/pictures"])
def test_home_after_an_equals_sign(tmp_path, flag):
    command = [sys.executable, "-m", "experiments.mnist_doubling", "--preset", "cpu", "--dataset", "folder_binary"]
    command += ["--out=~/runs", *flag.split()]
    variables = os.environ | {"HOME": str(tmp_path), "VNCA_CACHE_DIR": str(tmp_path / "cache")}
    ended = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and ended.stderr == (
        f"error: --data-dir is {tmp_path}/pictures, which does not exist: name the folder that holds your pictures.\n"
    )
    assert not (ROOT / "~").exists()

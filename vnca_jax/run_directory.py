"""A run directory: which process may write in it, and what the run was started with."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from vnca_jax import paths
from vnca_jax.errors import InputError
from vnca_jax.writing import write_json

# What a run adds to or replaces in its directory.
WRITTEN = ("config.json", "metrics.jsonl", "reports.jsonl", "tensorboard", "checkpoints", "reports", "figures")


@contextlib.contextmanager
def claim(directory: Path) -> Iterator[None]:
    """Creates `directory` if need be and holds it for this process alone.

    The claim is a lock of the operating system on `directory/.lock`, so it ends with the process, however that ends.
    Raises InputError if another process holds it, or it cannot be created.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _check_writable(directory)
        lock = filelock.FileLock(directory / ".lock", blocking=False, thread_local=False)
        lock.acquire()
    except filelock.Timeout as error:
        raise InputError(
            f"The run directory {directory} is in use by another process; wait for it, or choose another --name."
        ) from error
    except OSError as error:
        raise InputError(
            f"The run directory {directory} cannot be written ({paths.reason(error)}); choose another with --out."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _check_writable(directory: Path) -> None:
    """Raises OSError for the first of what a run writes that is there and closed: before the training, not after it."""
    for path in (directory, *(directory / name for name in WRITTEN)):
        if paths.exists(path) and not paths.allows(path, os.W_OK | (os.X_OK if paths.is_folder(path) else 0)):
            raise PermissionError(errno.EACCES, f"{os.strerror(errno.EACCES)}: {path.name}")


def check_can_be_written(flag: str, path: Path) -> None:
    """Raises InputError unless a file can be made at `path`, which `flag` names: before the work, not after it."""
    folder = path.absolute().parent
    if not paths.is_folder(folder):
        raise InputError(f"{flag} is {path}, but there is no folder {path.parent}; make it first.")
    closed = not paths.allows(folder, os.W_OK | os.X_OK) or (paths.exists(path) and not paths.allows(path, os.W_OK))
    if closed or paths.is_folder(path):
        what = "is a folder" if paths.is_folder(path) else "cannot be written (Permission denied)"
        raise InputError(f"{flag} is {path}, which {what}; name another file.")


def check_name(name: str) -> None:
    """Raises InputError for a name of a run that would lead out of the folder of all runs."""
    if name.startswith("~") or Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"--name is {name}, which leads out of --out: give a name, and the folder with --out.")


def check_config(
    directory: Path, config: dict[str, Any], may_change: frozenset[str], defaults: dict[str, Any] | None = None
) -> None:
    """Records `config` in `directory/config.json`, or holds it against the one that the run was started with.

    `config` maps flag names to JSON values; those in `may_change` do not alter what has been computed so far. A flag
    that the run did not know yet had its default. Raises InputError that names the first flag that differs.
    """
    path = directory / "config.json"
    if paths.exists(path):
        text = paths.read_text(path)
        try:
            started_with = json.loads(text)
            if not isinstance(started_with, dict):
                raise ValueError
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path} is not a run's configuration; choose another --name, or remove the folder."
            ) from error
        started_with = (defaults or {}) | started_with
        for flag in sorted(started_with.keys() | config.keys()):
            before, now = started_with.get(flag), config.get(flag)
            if before != now and flag not in may_change:
                raise InputError(
                    f"{directory} holds a run with --{flag} {before}, and now --{flag} {now} is asked for; "
                    "use the same value to resume it, or another --name to start a new run."
                )
    write_json(path, config)

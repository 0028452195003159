"""A run directory: which process may write in it, and what the run was started with."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vnca_jax.errors import InputError


@contextlib.contextmanager
def claim(directory: Path) -> Iterator[None]:
    """Creates `directory` if need be and holds it for this process alone.

    The claim is a lock of the operating system on `directory/.lock`, so it ends with the process, however that ends.
    Raises InputError if another process holds it, or it cannot be created.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = open(directory / ".lock", "a")  # noqa: SIM115 (closed below, after the lock has done its work)
    except OSError as error:
        raise InputError(
            f"The run directory {directory} cannot be written ({error.strerror}); choose another with --out."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"The run directory {directory} is in use by another process; wait for it, or choose another --name."
            ) from error
        yield


def write_json(path: Path, value: Any) -> None:
    """Writes `value` to `path` as `write_text` does."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` whole or not at all, in a folder made if need be; raises InputError if that fails."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise InputError(
            f"{path} cannot be written ({error.strerror}); free some space or choose another folder."
        ) from error


def check_config(
    directory: Path, config: dict[str, Any], may_change: frozenset[str], defaults: dict[str, Any] | None = None
) -> None:
    """Records `config` in `directory/config.json`, or holds it against the one that the run was started with.

    `config` maps flag names to JSON values; those in `may_change` do not alter what has been computed so far. A flag
    that the run did not know yet had its default. Raises InputError that names the first flag that differs.
    """
    path = directory / "config.json"
    if path.exists():
        try:
            started_with = json.loads(path.read_text())
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

"""Files that are written whole or not at all."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vnca_jax import paths
from vnca_jax.errors import InputError


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A hidden file to write, which becomes `path` at the end of the block, or goes where the block fails.

    The folder is made if need be; two processes may do this at once. OSError comes out as it is raised.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path`, whole or not at all; raises InputError if that fails."""
    try:
        with beside(path) as part:
            part.write_bytes(content)
    except OSError as error:
        what = "free some space or " if error.errno in paths.FULL else ""
        raise InputError(f"{path} cannot be written ({paths.reason(error)}); {what}choose another folder.") from error


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` as `write_bytes` does."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Writes `value` to `path` as `write_bytes` does."""
    write_text(path, json.dumps(value, indent=2) + "\n")

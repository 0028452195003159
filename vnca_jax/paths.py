"""Paths that a user has named: expanded, looked at and read in one place; what goes wrong there is one sentence."""

import codecs
import dataclasses
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from vnca_jax.errors import InputError

NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR)
CLOSED = (errno.EACCES, errno.EPERM)
FULL = (errno.ENOSPC, errno.EDQUOT)
T = TypeVar("T")
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with the home folder in place of `~` or `~user`; InputError where there is no such folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{os.fspath(path)} begins with a home folder that this machine does not know: write the whole path."
        ) from error


def expanded_in(options: T) -> T:
    """A dataclass of options, and of parts that are such, with all the paths among them expanded."""
    if isinstance(options, Path):
        return expanded(options)
    if isinstance(options, tuple | list):
        return type(options)(map(expanded_in, options))
    if not dataclasses.is_dataclass(options) or isinstance(options, type):
        return options
    changes = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    return dataclasses.replace(options, **{name: expanded_in(value) for name, value in changes.items()})


def exists(path: Path) -> bool:
    """Whether there is anything at `path`; InputError where a closed folder does not let us know."""
    return _mode(path) is not None


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder; InputError where a closed folder does not let us know."""
    return (mode := _mode(path)) is not None and stat.S_ISDIR(mode)


def is_file(path: Path) -> bool:
    """Whether `path` is a file and no folder; InputError where a closed folder does not let us know."""
    return (mode := _mode(path)) is not None and not stat.S_ISDIR(mode)


def allows(path: Path, mode: int) -> bool:
    """Whether this process may do with `path` what `mode` says (os.R_OK, os.W_OK, os.X_OK)."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def names_in(folder: Path) -> list[str]:
    """The names in `folder` in ascending order; InputError where it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read ({reason(error)}): {remedy(error)}.") from error


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Every folder in `folder`, itself first, with the names of its sub-folders, which may be changed, and files.

    Follows links, but enters no folder twice. At the end InputError names all the sub-folders that cannot be read.
    """
    closed: list[OSError] = []
    seen = set()
    for inside, subfolders, names in os.walk(folder, onerror=closed.append, followlinks=True):
        if (real := os.path.realpath(inside)) in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        yield Path(inside), subfolders, sorted(names)
    if closed:
        named = ", ".join(f"{error.filename} ({reason(error)})" for error in closed)
        raise InputError(f"Not all of {folder} can be read, because of {named}: allow it, or move that away.")


def read_bytes(path: Path, otherwise: str = "replace it") -> bytes:
    """What the file `path` holds; InputError where it cannot be read, and what to do then if it is not a closed one.

    A pipe, which would be waited for, is refused.
    """
    if (mode := _mode(path)) is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path} is a pipe or a device and no file: {otherwise}.")
    try:
        return path.read_bytes()
    except OSError as error:
        what = remedy(error) if error.errno in CLOSED else otherwise
        raise InputError(f"{path} cannot be read ({reason(error)}): {what}.") from error


def read_text(path: Path, otherwise: str = "replace it") -> str:
    """The text in `path`, with or without a byte order mark, its lines ended by a line feed alone; InputError as above.

    Raises InputError too where it is neither UTF-8 nor marked as UTF-16.
    """
    content = read_bytes(path, otherwise)
    encoding = next((encoding for mark, encoding in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read (it is no UTF-8 text): {otherwise}.") from error


def reason(error: OSError) -> str:
    """What the operating system says."""
    return error.strerror or str(error) or type(error).__name__


def remedy(error: OSError) -> str:
    """What to do where `path` could not be read or written, by what the operating system says."""
    if error.errno in CLOSED:
        return "allow it, or name another folder"
    return "free some space, or name another folder" if error.errno in FULL else "name another folder"


def remedy_of_writing(error: OSError) -> str:
    """What to do where a run cannot be written, by what the operating system says."""
    if error.errno in FULL:
        return "free some space"
    return "allow it" if error.errno in CLOSED else "make it writable"


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return None
        raise InputError(f"{path} cannot be looked at ({reason(error)}): {remedy(error)}.") from error

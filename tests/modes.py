"""The modes of files, which root does not obey: a way to obey them all the same, here and in processes that start."""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

VERSION = 0x20080522  # of the structure that capset takes
OVERRIDES = 0b110  # the capabilities to read, write and search whatever the modes say


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def obeyed() -> Iterator[None]:
    """In the block this thread, and those that it starts, obey the modes of files; skips the test where that fails."""
    if os.geteuid() != 0:
        yield
        return
    libc, header, sets = ctypes.CDLL(None, use_errno=True), _Header(VERSION, 0), (_Sets * 2)()
    if libc.capget(ctypes.byref(header), sets):
        pytest.skip("root's capabilities cannot be read here, and without them it ignores modes")
    before = sets[0].effective
    sets[0].effective = before & ~OVERRIDES
    if libc.capset(ctypes.byref(header), sets):
        pytest.skip("root's capabilities cannot be dropped here, and with them it ignores modes")
    try:
        yield
    finally:
        sets[0].effective = before
        assert libc.capset(ctypes.byref(header), sets) == 0


def obeying() -> list[str]:
    """What stands before a command so that its process obeys the modes of files."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("there is no setpriv, without which root ignores modes")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@contextlib.contextmanager
def closed(path: Path, mode: int = 0) -> Iterator[None]:
    """`path` with this mode in the block, which obeys it."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with obeyed():
            yield
    finally:
        path.chmod(before)

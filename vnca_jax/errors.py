"""What is shown to a user as a sentence, without a traceback."""

import contextlib
import difflib
import errno
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

GONE = (errno.EPIPE, errno.EIO)  # a pipe without a reader, a terminal that was closed


class InputError(Exception):
    """A mistake in what the user gave: the message says what was given, what is allowed and what to do.

    It names fields in backticks, which `fields` gives. The command lines print the message with flags in their place
    and exit with code 2; everything else that is raised is a bug. It is no ValueError, which the reader of flags would
    show in its own way.
    """

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a configuration, or arguments, that the message names."""
        return tuple(FIELD.findall(str(self)))


class Stopped(Exception):
    """Training was asked to stop and has saved its state. The command lines end with exit code 75, the system's
    EX_TEMPFAIL: the same command goes on.
    """


FIELD = re.compile(r"`([a-z_]+)`")
STOPPED = 75  # exit code


def with_flags(message: str) -> str:
    """The message as a command line shows it: `batch_size` becomes --batch-size."""
    return FIELD.sub(lambda field: f"--{field[1].replace('_', '-')}", message)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown `name`: the one of the `known` that it resembles, if any."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    return f"; did you mean {nearest[0]!r}?" if nearest else "."


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Around a command line's work: an InputError becomes its sentence on standard error and exit code 2; training that
    diverged (FloatingPointError) likewise, with exit code 1. What Stopped says is shown too.

    In the block a letter that the terminal does not have is written as an escape, and what is written after a terminal
    or a pipe has been closed is dropped, so that the work goes on.
    """
    with _lasting("stdout"), _lasting("stderr"):
        yield from _reported()


def _reported():
    try:
        yield
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(STOPPED)
    except (InputError, FloatingPointError) as error:
        print(f"error: {with_flags(str(error))}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


@contextlib.contextmanager
def _lasting(name: str) -> Iterator[None]:
    """In the block `sys.stdout` or `sys.stderr` takes all text, shown or not; a notebook keeps its own."""
    stream = getattr(sys, name)
    if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
        yield
        return
    stream.flush()
    raw = io.BufferedWriter(_Lasting(stream.fileno(), "wb", closefd=False))
    at_once = name == "stderr" or stream.line_buffering  # a process may end without flushing
    lasting = io.TextIOWrapper(raw, stream.encoding, "backslashreplace", line_buffering=at_once)
    setattr(sys, name, lasting)
    try:
        yield
    finally:
        lasting.flush()
        setattr(sys, name, stream)


class _Lasting(io.FileIO):
    """A file whose reader may go: what is written then is dropped."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in GONE:
                raise
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())
            os.close(nothing)
            return len(content)

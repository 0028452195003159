"""What is shown to a user as a sentence, without a traceback."""

import contextlib
import difflib
import re
import sys
from collections.abc import Iterable, Iterator


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
    """
    try:
        yield
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(STOPPED)
    except (InputError, FloatingPointError) as error:
        print(f"error: {with_flags(str(error))}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)

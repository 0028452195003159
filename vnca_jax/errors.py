"""What is shown to a user as a sentence, without a traceback."""

import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator


class InputError(ValueError):
    """A mistake in what the user gave: the message says what was given, what is allowed and what to do.

    The command lines print the message and exit with code 2; everything else that is raised is a bug.
    """


class Stopped(SystemExit):
    """Training was asked to stop and has saved its state; uncaught, it ends the process with exit code 75, the system's
    EX_TEMPFAIL: the same command goes on.
    """

    def __init__(self, message: str):
        super().__init__(75)
        self.message = message


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
        print(stopped.message, file=sys.stderr)
        raise
    except (InputError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)

"""The one exception that is shown to a user as a sentence, without a traceback."""

import contextlib
import sys
from collections.abc import Iterator


class InputError(ValueError):
    """A mistake in what the user gave: the message says what was given, what is allowed and what to do.

    The command lines print the message and exit with code 2; everything else that is raised is a bug.
    """


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Around a command line's work: an InputError becomes its sentence on standard error and exit code 2; training that
    diverged (FloatingPointError) likewise, with exit code 1.
    """
    try:
        yield
    except (InputError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)

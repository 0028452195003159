"""The one exception that is shown to a user as a sentence, without a traceback."""


class InputError(ValueError):
    """A mistake in what the user gave: the message says what was given, what is allowed and what to do.

    The command lines catch it, print the message and exit with code 2; everything else that is raised is a bug.
    """

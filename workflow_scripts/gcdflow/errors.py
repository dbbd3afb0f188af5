"""The one kind of error that a person can mend, and nothing else."""


class InputError(ValueError):
    """Bad input: one sentence that names the file or key, what was found, what was expected.

    The stages print it without a traceback and exit with status 2 (see :mod:`gcdflow.cli`).
    """

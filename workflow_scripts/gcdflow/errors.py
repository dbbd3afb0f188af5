"""The one kind of error that a person can mend, and nothing else."""

_LONGEST = 2000  # characters of a message; what a broken file holds may be millions


class InputError(ValueError):
    """Bad input: one sentence that names the file or key, what was found, what was expected.

    The stages print it without a traceback and exit with status 2 (see :mod:`gcdflow.cli`).

    Messages quote what files hold and what they are called, and libraries' messages with it. So
    that none of it can break the one line, or steer a terminal, line breaks, control characters and
    the like are written as escapes (``\\n``, ``\\x1b``), and a very long message loses its middle.
    """

    status = 2  # with which the stage exits

    def __init__(self, message: str):
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """The text with escapes in place of what is not printable, and of bearable length."""
    short = _shortened(text)  # before it is looked at, and after escapes have made it longer
    return _shortened(
        "".join(
            c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode()
            for c in short
        )
    )


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 4 :]}"

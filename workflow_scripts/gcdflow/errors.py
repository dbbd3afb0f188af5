"""Errors that end a stage with one sentence."""

from __future__ import annotations

_LONGEST = 2000  # characters of a message; what a broken file holds may be millions


class StageError(Exception):
    """What ends a stage with one sentence and no traceback (see :mod:`gcdflow.cli`).

    Messages quote what files hold and what they are called, and libraries' messages with it. So
    that none of it can break the one line, or steer a terminal, line breaks, control characters and
    the like are written as escapes (``\\n``, ``\\x1b``), and a very long message loses its middle.
    """

    status: int  # with which the stage exits

    def __init__(self, message: str):
        super().__init__(one_line(message))


class InputError(StageError, ValueError):
    """Bad input: one sentence that names the file or key, what was found, what was expected."""

    status = 2


class MachineError(StageError, RuntimeError):
    """The machine failed, not the input: memory ran out, a process was killed. Try again."""

    status = 71  # EX_OSERR of sysexits.h


def machine_error(error: BaseException) -> MachineError | None:
    """What an exception of a library says about the machine; None if it is another kind of error.

    PyTorch has no class for all of these, so its words decide.
    """
    if isinstance(error, MachineError):
        return error
    text = str(error).strip()
    out_of_memory = ("out of memory", "can't allocate memory", "Cannot allocate memory")
    if isinstance(error, MemoryError) or any(words in text for words in out_of_memory):
        words = text.splitlines()[0] if text else "MemoryError"
        return MachineError(f"memory ran out ({words}); what had been saved is kept")
    return None


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

"""Errors that end a stage with one sentence."""

from __future__ import annotations

from gcdflow.wording import short_checksums

_LONGEST = 2000  # characters of a message; a broken file may hold millions


class StageError(Exception):
    """An error that ends a stage with one sentence and no traceback (see :mod:`gcdflow.cli`).

    Messages quote file names, contents of files and messages of libraries. These could break the
    line or control a terminal. Line breaks and control characters are therefore written as escapes
    (``\\n``, ``\\x1b``), the middle of a very long message is cut out, and of checksums only the
    first digits are shown.
    """

    status: int  # exit status of the stage

    def __init__(self, message: str):
        super().__init__(short_checksums(one_line(message)))


class InputError(StageError, ValueError):
    """Bad input: one sentence that names the file or key, what was found, what was expected."""

    status = 2


class MachineError(StageError, RuntimeError):
    """The machine failed, not the input, for example memory ran out. A retry may succeed."""

    status = 71  # EX_OSERR of sysexits.h


def machine_error(error: BaseException) -> MachineError | None:
    """The exception of a library as a :class:`MachineError`; None if it is another kind of error.

    PyTorch has no exception class for some of these errors, so the text of the message decides.
    """
    if isinstance(error, MachineError):
        return error
    text = str(error).strip()
    out_of_memory = ("out of memory", "can't allocate memory", "Cannot allocate memory")
    if isinstance(error, MemoryError) or any(words in text for words in out_of_memory):
        words = text.splitlines()[0] if text else "MemoryError"
        return MachineError(f"memory ran out ({words}); saved state is kept")
    return None


def one_line(text: str) -> str:
    """The text, shortened, with escapes in place of characters that are not printable."""
    short = _shortened(text)  # once to save time, and again because escapes make it longer
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

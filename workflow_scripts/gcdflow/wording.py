"""How messages write numbers, times, checksums and names that do not exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_MOST_NAMES = 8  # that a sentence lists of the names that exist
_ALIKE = 0.7  # difflib's ratio: photos is meant by fotos (0.73), digits by digit (0.91)
_DIGITS_OF_A_CHECKSUM = 12  # enough to tell files apart, and as many as Git shows
# A SHA-256 that stands alone: files may be named by one, and their names must stay as they are.
_CHECKSUM = re.compile(r"(?<![\w/.-])([0-9a-f]{64})(?![\w/-]|\.\w)")


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: ``1 epoch``, ``2 epochs``.

    Parameters
    ----------
    one, many : str
        The noun; the plural ends with ``s`` if ``many`` is None.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def per_second(rate: float, noun: str) -> str:
    """A speed with as many decimals as say something: ``1.3 images/s``, ``184 images/s``."""
    return f"{rate:.{0 if rate >= 10 else 1 if rate >= 1 else 2}f} {noun}/s"


def duration(seconds: float) -> str:
    """A time in its two largest units: ``40 s``, ``3 min``, ``2 h 05 min``, ``3 d 4 h``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(minutes / 60)
    if hours < 24:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def short_checksums(text: str) -> str:
    """The text with the first digits of each SHA-256 in it."""
    return _CHECKSUM.sub(lambda found: f"{found[1][:_DIGITS_OF_A_CHECKSUM]}…", text)


def did_you_mean(name: object, known: Iterable[str], most: int = 1) -> str:
    """A hint for the end of a sentence: the names that look most like one that does not exist.

    Parameters
    ----------
    name : object
        What somebody wrote, which need not be a text.
    most : int
        Number of names at most.

    Returns
    -------
    str
        Such as ``; did you mean 'photos'?``; empty if nothing looks like it.
    """
    by_look = {one.casefold(): one for one in known}
    close = difflib.get_close_matches(str(name).casefold(), by_look, n=most, cutoff=_ALIKE)
    named = " or ".join(f"'{by_look[look]}'" for look in close)
    return f"; did you mean {named}?" if named else ""


def some_of(names: Iterable[str]) -> str:
    """The first names of a list, and how many more there are: ``a, b, c and 33 more``."""
    listed = list(names)
    more = f" and {len(listed) - _MOST_NAMES} more" if len(listed) > _MOST_NAMES else ""
    return (", ".join(listed[:_MOST_NAMES]) or "none") + more

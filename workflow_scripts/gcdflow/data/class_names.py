"""Class names as people write them: similar names, numbers that may be ids, marks for "nothing".

The workflow compares paths with it when it looks for changes, so it needs no NumPy.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

from gcdflow.errors import InputError
from gcdflow.wording import did_you_mean

# Spaces of any width and tabs. A line break in a name is an error, so it is not here.
_SPACES = re.compile(r"[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
# Invisible characters that come with copied text. Joiners are kept, because some scripts need them.
_INVISIBLE = re.compile(r"[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")

# Around a mark for "nothing", or alone: quotation marks, brackets, dashes, dots, question marks.
_AROUND = " '\"`´‘’‚‛“”„«»‹›()[]{}<>#._~/\\-‐‑‒–—―−…?¿？"
_NOTHING = {
    # R, pandas and NumPy, Python, SQL, MATLAB, Julia
    *("na", "na_character", "na_integer", "na_real", "nan", "nat", "pd.na", "np.nan"),
    *("1.#ind", "1.#qnan", "none", "null", "nil", "undefined", "missing"),
    # people
    *("unlabelled", "unlabeled", "not labelled", "not labeled", "no label", "no data"),
    *("not available", "not applicable", "unknown", "tbd"),
}
# -1 is what unlabelled samples have in arrays (scikit-learn's convention); \N is MySQL's NULL.
_NOTHING_AS_IT_STANDS = {"-1", "-1.0", "\\n"}
_ABBREVIATED = re.compile(r"(n ?[./\\] ?[abcdv]|k ?[./\\] ?a|s ?[./\\] ?d)( .*)?")
# Errors of spreadsheets, in any language: #REF!, #NAME?, #N/A, #N/D, #NV, Err:502.
_ERROR_OF_SPREADSHEET = re.compile(
    r"#.*[!?]|#\w{1,3}/\w{1,3}( .*)?|#(nv|yok|hiányzik|není_k_dispozici|getting_data)"
    r"|(err|error|erreur|errore|fehler) ?: ?\d+"
)

# The same for the page that writes names (gallery_labels.js): parts that it makes expressions of.
RULES_OF_NAMES = {
    "spaces": _SPACES.pattern,
    "invisible": _INVISIBLE.pattern,
    "around": _AROUND,
    "nothing": sorted(_NOTHING),
    "nothingAsItStands": sorted(_NOTHING_AS_IT_STANDS),
    "abbreviated": _ABBREVIATED.pattern,
    "errorOfSpreadsheet": _ERROR_OF_SPREADSHEET.pattern,
}


def tidied(name: str) -> str:
    """A name with composed characters, single spaces and no invisible characters."""
    return _SPACES.sub(" ", _INVISIBLE.sub("", unicodedata.normalize("NFC", name))).strip()


def path_look(path: str) -> str:
    """A normalised path for comparison: tidied names, joined by ``/``."""
    return "/".join(map(tidied, PurePosixPath(path.replace("\\", "/")).parts))


def says_nothing(name: str) -> bool:
    """Whether a tidied name is blank, or a common mark for a missing name.

    Such marks are ``NA``, ``<NA>``, ``nan``, ``None``, ``N/A``, ``NULL``, ``#REF!``, ``-``, ``?``
    and ``-1``, in upper or lower case.
    """
    text = name.casefold()
    core = text.strip(_AROUND)
    return (
        not core
        or core in _NOTHING
        or text in _NOTHING_AS_IT_STANDS
        or _ABBREVIATED.fullmatch(core) is not None
        or _ERROR_OF_SPREADSHEET.fullmatch(text) is not None
    )


def position_of(name: str, names: Sequence[str]) -> int | None:
    """Position of the same name, or of the only one that looks the same; otherwise None."""
    if name in names:
        return names.index(name)
    look = tidied(name)
    alike = [i for i, other in enumerate(names) if tidied(other) == look]
    return alike[0] if len(alike) == 1 else None


def chosen_classes(key: str, chosen: Sequence[int | str], names: Sequence[str]) -> list[int]:
    """Positions of the classes that a setting lists.

    A text is a name. A number may be an id (the position), or a name without quotation marks. All
    numbers of a list must have the same meaning. A list is refused if both meanings fit it.

    Parameters
    ----------
    key : str
        The setting, for messages.
    names : sequence of str, shape (n,)

    Raises
    ------
    InputError
        If a name or number fits no class or more than one, or a class is listed twice.
    """
    numbers = [entry for entry in chosen if not isinstance(entry, str)]
    named = {n: i for n in numbers if (i := position_of(str(n), names)) is not None}
    ids = {n: n for n in numbers if 0 <= n < len(names)}
    for n in numbers:
        if n not in named and n not in ids:
            raise InputError(f"{key}: {n} is not a class here {_found(names)}")
    whole = [way for way in (named, ids) if all(n in way for n in numbers)]
    for n in numbers:
        if len({way[n] for way in whole or (named, ids) if n in way}) > 1:
            raise InputError(
                f"{key}: {n} may be the name of '{names[named[n]]}' or the id of '{names[n]}'; "
                "write the name that is meant in quotation marks"
            )
    if not whole:
        id_only = next(n for n in numbers if n not in named)
        name_only = next(n for n in numbers if n not in ids)
        raise InputError(
            f"{key}: {id_only} is the id of a class, {name_only} the name; write the names in "
            "quotation marks"
        )
    found = [_named(key, n, names) if isinstance(n, str) else whole[0][n] for n in chosen]
    if len(set(found)) != len(found):
        raise InputError(f"{key} lists a class twice")
    return found


def _named(key: str, name: str, names: Sequence[str]) -> int:
    position = position_of(name, names)
    if position is None:
        hint = did_you_mean(name, names)
        if re.fullmatch(r"\d{1,9}", name) and int(name) < len(names):
            hint = "; an id is a number without quotation marks"
        raise InputError(f"{key}: {name!r} is not a class here {_found(names)}{hint}")
    return position


def _found(names: Sequence[str]) -> str:
    return f"(found {len(names)}, ids 0…{len(names) - 1}: {', '.join(names[:3])} …)"

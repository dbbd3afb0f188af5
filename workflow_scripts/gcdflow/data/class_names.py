"""Class names as people write them: similar names, numbers that may be ids, marks for "nothing".

The workflow compares paths with it when it looks for changes, so it needs no NumPy.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import yaml

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


def chosen_classes(
    key: str,
    chosen: Sequence[int | str],
    names: Sequence[str],
    numbers: Mapping[str, Mapping[int, int]] | None = None,
) -> list[int]:
    """Positions of the classes that a setting lists.

    A text is a name. A number may be an id (the position), or a name without quotation marks, as
    YAML reads it (``010`` is 8). All numbers of a list must have the same meaning. A list is
    refused if two meanings fit it.

    Parameters
    ----------
    key : str
        The setting, for messages.
    names : sequence of str, shape (n,)
    numbers : mapping, optional
        Other numberings of the classes: name of each numbering to {number: position}.

    Raises
    ------
    InputError
        If a name or number fits no class or more than one, or a class is listed twice.
    """
    given = [entry for entry in chosen if not isinstance(entry, str)]
    of_number = dict(zip(given, _numbered(key, given, names, numbers or {}), strict=True))
    found = [
        _named(key, entry, names) if isinstance(entry, str) else of_number[entry]
        for entry in chosen
    ]
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


def _numbered(
    key: str,
    given: list[int],
    names: Sequence[str],
    numbers: Mapping[str, Mapping[int, int]],
) -> list[int]:
    """The class of each number, in the only meaning that fits all of them."""
    by_name: dict[int, list[int]] = {number: [] for number in given}
    for i, name in enumerate(names if given else ()):
        by_name.get(_yaml_number(name), []).append(i)
    several = next((n for n, positions in by_name.items() if len(positions) > 1), None)
    if several is not None:
        meant = [f"'{names[i]}'" for i in by_name[several]]
        raise InputError(
            f"{key}: {several} may be the class {' or '.join(meant)}; write the name that is meant "
            "in quotation marks"
        )
    ways = {
        "name": {number: positions[0] for number, positions in by_name.items() if positions},
        "id": {i: i for i in range(len(names))},
        **numbers,
    }
    for number in given:
        if not any(number in way for way in ways.values()):
            raise InputError(f"{key}: {number!r} is not a class here {_found(names)}")
    whole = {what: way for what, way in ways.items() if all(n in way for n in given)}
    for number in given:
        meant = {what: way[number] for what, way in (whole or ways).items() if number in way}
        if len(set(meant.values())) > 1:
            raise InputError(
                f"{key}: {number} may be the {_readings(meant, names)}; write the name that is "
                "meant in quotation marks"
            )
    if not whole:
        one, other = given[0], next(n for n in given if _ways(n, ways) != _ways(given[0], ways))
        raise InputError(
            f"{key}: {one} is the {_ways(one, ways)} of a class, {other} the {_ways(other, ways)}; "
            "write the names in quotation marks"
        )
    return [next(iter(whole.values()))[number] for number in given]


def _readings(meant: Mapping[str, int], names: Sequence[str]) -> str:
    return " or the ".join(f"{what} of '{names[i]}'" for what, i in meant.items())


def _ways(number: int, ways: Mapping[str, Mapping[int, int]]) -> str:
    return " or ".join(what for what, way in ways.items() if number in way)


def _found(names: Sequence[str]) -> str:
    return f"(found {len(names)}, ids 0…{len(names) - 1}: {', '.join(names[:3])} …)"


def _yaml_number(name: str) -> int | None:
    """The whole number that YAML reads in a name without quotation marks; None if it reads none."""
    tag = yaml.resolver.Resolver().resolve(yaml.ScalarNode, name, (True, False))
    if tag != "tag:yaml.org,2002:int":
        return None
    try:
        return yaml.constructor.SafeConstructor().construct_yaml_int(yaml.ScalarNode(tag, name))
    except ValueError:  # such as 0b_
        return None

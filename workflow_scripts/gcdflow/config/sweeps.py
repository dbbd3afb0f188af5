"""Sweeps: one entry of the configuration defines a run for each combination of values."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gcdflow.config.settings import RunSettings
from gcdflow.errors import InputError

MAX_RUNS = 10_000  # per sweep
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SEED = re.compile(r"-seed\d+")


def combinations(name: str, over: object, where: str) -> dict[str, dict[str, Any]]:
    """Names and settings of the runs of a sweep.

    Parameters
    ----------
    name : str
        Name of the sweep; the names of its runs begin with it.
    over : mapping
        Key of a setting (``dataset.superclass``, ``seed``) to its values: a list of texts and
        numbers, or a mapping of names to values of any type. A run's name has a part for each key:
        the text itself, the last part of the key with the number (``seed0``), or the value's name.
    where : str
        Beginning of error messages.

    Returns
    -------
    dict
        Name of each run to its settings, nested as in the configuration; the last key of ``over``
        changes fastest.

    Raises
    ------
    InputError
        If ``over`` has another form, or two runs would have the same name.
    """
    if not isinstance(over, Mapping) or not over:
        raise InputError(f"{where}: expected a mapping of keys to lists of values")
    axes = [_axis(key, values, f"{where}.{key}") for key, values in over.items()]
    n_runs = math.prod(map(len, axes))
    if n_runs > MAX_RUNS:
        raise InputError(f"{where}: makes {n_runs} runs, expected at most {MAX_RUNS}")
    runs: dict[str, dict[str, Any]] = {}
    for chosen in itertools.product(*axes):
        run = "-".join([name, *(part for part, _ in chosen)])
        if run in runs:
            raise InputError(
                f"{where}: two of its runs would be called '{run}'; give the values names: "
                "{name: value, …}"
            )
        settings: dict[str, Any] = {}
        for key, (_, value) in zip(over, chosen, strict=True):
            _set(settings, key.split("."), value, f"{where}.{key}")
        runs[run] = settings
    return runs


def _axis(key: object, values: object, where: str) -> list[tuple[str, Any]]:
    """The part of a run's name and the value, for each value of a key."""
    if not isinstance(key, str):
        raise InputError(f"{where}: expected the name of a setting, such as dataset.superclass")
    if isinstance(values, Mapping):
        strange = [name for name in values if name is None or isinstance(name, bool)]
        if strange:
            raise InputError(
                f"{where}: YAML reads the name of a value as {strange[0]}; put it into quotation "
                "marks"
            )
        named = [(str(name), value) for name, value in values.items()]
    elif isinstance(values, list):
        named = [(_part(key, value, where), value) for value in values]
    else:
        named = []
    if not named:
        raise InputError(f"{where}: expected a list of values, or a mapping of names to values")
    return named


def _part(key: str, value: object, where: str) -> str:
    if isinstance(value, str) and RUN_NAME.fullmatch(f"a-{value}"):  # as the end of a name
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{key.rpartition('.')[2]}{value}"
    raise InputError(
        f"{where}: {value!r} cannot be part of a run's name; give the values names: "
        "{name: value, …}"
    )


def _set(settings: dict[str, Any], path: list[str], value: object, where: str) -> None:
    """Set a nested key; a sweep may set several keys of the same section."""
    for section in path[:-1]:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise InputError(f"{where}: another key of the sweep has set '{section}' as a whole")
    if path[-1] in settings:
        raise InputError(f"{where}: another key of the sweep sets this too")
    settings[path[-1]] = value


def titles(runs: Mapping[str, RunSettings], names: Iterable[str]) -> dict[str, str]:
    """Titles for the table of results: runs that differ only in seeds and GPUs share a title.

    The seed of the dataset, which draws the labels, is one, too.

    Returns
    -------
    dict
        Name of each run to the title of its group: the name of the group's first run, without its
        ``-seed<number>`` if no other group has that title.
    """
    names = list(dict.fromkeys(names))
    groups: dict[str, list[str]] = {}
    for name in names:
        settings = runs[name].model_copy(update={"seed": 0, "gpus": 1}).model_dump()
        settings["dataset"].pop("seed", None)
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(name)
    short = [_SEED.sub("", members[0]) for members in groups.values()]
    return {
        name: title if short.count(title) == 1 else members[0]
        for title, members in zip(short, groups.values(), strict=True)
        for name in members
    }

"""Read ``config/config.yaml``: inheritance and validation of the settings of runs.

Each run inherits from ``defaults:`` and, with ``inherit: <run>``, from another run. A sweep defines
several runs (:mod:`gcdflow.config.sweeps`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from gcdflow.config.settings import RunSettings, Settings, kinds
from gcdflow.config.sweeps import RUN_NAME, combinations
from gcdflow.errors import InputError
from gcdflow.wording import did_you_mean, some_of

# A section with another `name` replaces the inherited section except for these keys, which apply to
# every dataset.
KEPT_KEYS = {"dataset": {"root", "prop_train_labels", "seed"}}

_KEYS = ("defaults", "runs", "sweeps", "default_runs")
_LARGEST_FILE = 2**20

_KIND_NAMES = {name for section in RunSettings.model_fields for name in kinds(section)}

_NOT_TEXT = "YAML reads no, on, null, 010, 1:30 and 2024-01-01 as other types than text"

S = TypeVar("S", bound=Settings)


def validated(model: type[S], values: object, where: str) -> S:
    """Build a settings object.

    Raises
    ------
    InputError
        The message names ``where`` and, for each wrong key, the value and what was expected.
    """
    try:
        return TypeAdapter(model).validate_python(values)
    except ValidationError as error:
        raise InputError(f"{where}: {'; '.join(map(_phrase, error.errors()))}") from None


def _phrase(problem: ErrorDetails) -> str:
    """One problem that pydantic found, as part of a sentence."""
    path, context = list(problem["loc"]), problem.get("ctx", {})
    # Pydantic's path includes the kind of a section and the type of a value, which are not keys of
    # the configuration.
    written = path[-1:] if problem["type"] == "extra_forbidden" else []
    path = path[: len(path) - len(written)]
    path = [part for part in path if part not in {*_KIND_NAMES, "int", "str"}] + written
    key, value = ".".join(map(str, path)), problem["input"]
    if written:
        return f"unknown key '{key}'"
    if problem["type"] == "union_tag_not_found":
        return f"key '{'.'.join([*path, 'name'])}' is missing"
    if problem["type"] == "union_tag_invalid":
        name = ".".join([*path, "name"])
        return f"key '{name}' is '{context['tag']}': expected {context['expected_tags']}"
    if problem["type"] == "value_error":
        return f"{key}: {context['error']}" if key else str(context["error"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    if problem["type"] in ("int_type", "float_type") and _is_number(value):
        is_whole = problem["type"] == "int_type"
        remedy = "no quotation marks" if is_whole else "write the digits out, or 1.0e-3 for 1e-3"
        message += f" (YAML reads it as text: {remedy}; so does --config, use --configfile)"
    if problem["type"] == "string_type" and not isinstance(value, list | dict):
        message += f" ({_NOT_TEXT}: put text into quotation marks)"
    return f"key '{key}' is {_shown(value)}: {message}" if key else f"{_shown(value)}: {message}"


def _shown(value: object) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # YAML reads numbers with more digits than Python prints
        return "a value that cannot be printed"


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge; a section with another ``name`` inherits only :data:`KEPT_KEYS`."""
    result = dict(base)
    for key, value in override.items():
        inherited = result.get(key)
        if isinstance(inherited, Mapping) and isinstance(value, Mapping):
            name = value.get("name", inherited.get("name"))
            if name != inherited.get("name"):
                kept = KEPT_KEYS.get(key, set()) & _keys_of_kind(key, name)
                inherited = {k: v for k, v in inherited.items() if k in kept}
            value = merged(inherited, value)
        result[key] = value
    return result


def _keys_of_kind(section: str, name: object) -> set[str]:
    known = isinstance(name, str) and section in RunSettings.model_fields
    kind = kinds(section).get(name) if known else None
    return set(kind.model_fields) if kind is not None else set()


def names_of_runs(others: Iterable[str]) -> str:
    """A pattern of names of runs in paths, but of those of others, whose files no rule makes."""
    gone = "".join(f"(?!{re.escape(name)}/)" for name in sorted(set(others)))
    return f"{gone}{RUN_NAME.pattern}"


def resolve_runs(config: Mapping[str, Any], where: str = "configuration") -> dict[str, RunSettings]:
    """Resolve the inheritance of all runs and validate each.

    Parameters
    ----------
    config : mapping
        Content of ``config/config.yaml``: ``runs`` and optionally ``defaults``, ``sweeps`` and
        ``default_runs``.

    Raises
    ------
    InputError
        For an unknown key, a bad value, or inheritance from an unknown run or in a circle.
    """
    unknown = sorted(map(str, set(config) - set(_KEYS)))
    if unknown:
        raise InputError(f"{where}: unknown key '{unknown[0]}' (expected: {', '.join(_KEYS)})")
    for section in ("defaults", "runs", "sweeps"):
        if not isinstance(config.get(section, {}), Mapping):
            raise InputError(f"{where}: '{section}' must be a mapping of names to settings")
    defaults, runs = config.get("defaults", {}), dict(config.get("runs", {}))
    for sweep, members in _runs_of_sweeps(config, where).items():
        for name in members.keys() & runs.keys():
            raise InputError(f"{where}: sweeps.{sweep}: another run has the name '{name}'")
        runs |= members
    for name in runs:
        if not isinstance(name, str):
            raise InputError(f"{where}: run name {name!r} is not text; put it in quotes")
        if not RUN_NAME.fullmatch(name):
            raise InputError(
                f"{where}: run name '{name}' is a folder name too: expected letters, digits, "
                "'.', '_' and '-', the first a letter or digit"
            )
    validated(RunSettings, defaults, f"{where}: defaults")
    return {
        name: validated(
            RunSettings, _inherited(name, defaults, runs, where), f"{where}: runs.{name}"
        )
        for name in runs
    }


def _runs_of_sweeps(config: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """The runs of each sweep by name, with their own settings, not yet validated."""
    found = {}
    for sweep, settings in config.get("sweeps", {}).items():
        if not isinstance(settings, Mapping):
            raise InputError(f"{where}: sweeps.{sweep} must be a mapping of keys to values")
        if sweep in config.get("runs", {}):
            raise InputError(f"{where}: sweeps.{sweep}: a run has this name too")
        own = {key: value for key, value in settings.items() if key != "over"}
        over = combinations(str(sweep), settings.get("over"), f"{where}: sweeps.{sweep}.over")
        found[str(sweep)] = {name: merged(own, values) for name, values in over.items()}
    return found


def resolve_default_runs(
    config: Mapping[str, Any], runs: Mapping[str, RunSettings], where: str = "configuration"
) -> list[str]:
    """Names of the runs that Snakemake makes without a target, each once.

    Raises
    ------
    InputError
        If ``default_runs`` is not a list of names of runs and sweeps.
    """
    names = config.get("default_runs", [])
    if not isinstance(names, list):
        raise InputError(f"{where}: 'default_runs' must be a list of names of runs and sweeps")
    sweeps = _runs_of_sweeps(config, where)
    found: dict[str, None] = {}
    for name in names:
        if not isinstance(name, str) or (name not in runs and name not in sweeps):
            sweeps_too = f"; sweeps: {some_of(sweeps)}" if sweeps else ""
            raise InputError(
                f"{where}: default_runs: there is no run '{name}'"
                f"{did_you_mean(name, [*runs, *sweeps])} (runs: {some_of(runs)}{sweeps_too})"
            )
        found |= dict.fromkeys([name] if name in runs else sweeps[name])
    return list(found)


def _inherited(name: str, defaults: Mapping, runs: Mapping, where: str) -> dict[str, Any]:
    """The settings of a run including inherited ones, not yet validated."""
    chain: list[Mapping] = []
    seen: list[str] = []
    parent: Any = name
    while parent is not None:
        if parent in seen:
            raise InputError(
                f"{where}: runs.{name}: inherits in a circle ({' → '.join([*seen, parent])})"
            )
        if not isinstance(parent, str) or parent not in runs:
            raise InputError(
                f"{where}: runs.{seen[-1]}.inherit: there is no run '{parent}'"
                f"{did_you_mean(parent, runs)} (runs: {some_of(runs)})"
            )
        settings = runs[parent] if runs[parent] is not None else {}
        if not isinstance(settings, Mapping):
            raise InputError(f"{where}: runs.{parent} must be a mapping of keys to values")
        seen.append(parent)
        chain.append({key: value for key, value in settings.items() if key != "inherit"})
        parent = settings.get("inherit")
    result: dict[str, Any] = dict(defaults)
    for settings in reversed(chain):
        result = merged(result, settings)
    return result


def load_runs(path: str | Path) -> dict[str, RunSettings]:
    """Read a configuration file.

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or is not a valid configuration.
    """
    try:
        if Path(path).stat().st_size > _LARGEST_FILE:
            raise ValueError(f"larger than {_LARGEST_FILE} bytes")
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        check_text(path)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise InputError(f"{path}: not valid YAML (nested too deeply)") from None
    except Exception as error:  # the constructors of numbers and dates may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not valid YAML ({reason})") from None
    if not isinstance(config, Mapping):
        raise InputError(f"{path}: expected a mapping with 'defaults' and 'runs'")
    return resolve_runs(config, str(path))


def check_text(path: str | Path) -> None:
    """Refuse what is lost when YAML is read: keys that occur twice, and how a number was written.

    Of equal keys, YAML keeps the last. Among old classes, it reads ``010`` as 8, ``0x1F`` as 31 and
    ``1:30`` as 90.

    Raises
    ------
    InputError
        The message names the line.
    """
    text = Path(path).read_text(encoding="utf-8")
    loader = yaml.SafeLoader(text)  # the one in C refuses emoji as JSON writes them
    try:
        nodes = [(loader.get_single_node(), False)]
        seen = set()
        while nodes:
            node, is_of_classes = nodes.pop()
            if node is None or (id(node), is_of_classes) in seen:
                continue
            seen.add((id(node), is_of_classes))
            if isinstance(node, yaml.MappingNode):
                _check_keys(path, node)
                nodes += [
                    (value, is_of_classes or str(key.value).endswith("old_classes"))
                    for key, value in node.value
                ]
            elif isinstance(node, yaml.SequenceNode):
                nodes += [(item, is_of_classes) for item in node.value]
            elif is_of_classes and node.tag == "tag:yaml.org,2002:int":
                _check_number(path, node, loader.construct_object(node))
    finally:
        loader.dispose()


def _check_keys(path: str | Path, node: yaml.MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        line, identity = key.start_mark.line + 1, (key.tag, str(key.value))
        if identity in lines and key.value != "<<":  # YAML merges all of these
            raise InputError(
                f"{path}, line {line}: the key '{key.value}' is in line {lines[identity]} already; "
                "YAML would keep only one of them"
            )
        lines[identity] = line


def _check_number(path: str | Path, node: yaml.ScalarNode, number: int) -> None:
    if node.value != str(number):
        raise InputError(
            f"{path}, line {node.start_mark.line + 1}: old_classes: YAML reads {node.value} as "
            f"the number {number}; write a class's name in quotation marks ('{node.value}'), an "
            f"id in plain digits ({number})"
        )


def find_run(runs: Mapping[str, RunSettings], name: str) -> RunSettings:
    """The settings of a run.

    Raises
    ------
    InputError
        If the run does not exist; the message lists some of those that do.
    """
    if name not in runs:
        raise InputError(
            f"there is no run '{name}' in the configuration{did_you_mean(name, runs)} "
            f"(runs: {some_of(runs)})"
        )
    return runs[name]

"""JSON from files that may be broken: read strictly, with one kind of error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pydantic import BaseModel


def parse_json_object(text: str, keys: type[BaseModel] | None = None) -> dict[str, Any]:
    """A JSON object, all of which can be written again.

    Parameters
    ----------
    keys : model of the object, if it has one

    Raises
    ------
    ValueError
        If the text is not JSON or not an object, nests too deeply, or holds NaN, infinity, a number
        too large for a float, or half of a surrogate pair; or if it does not fit the model.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        # What Python reads but nobody can write: 1e999 (infinite), "\ud800" (no character).
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("not JSON text (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"not JSON text ({error})") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    if keys is not None:
        _check_keys(value, keys)
    return value


def _check_keys(value: dict[str, Any], keys: type[BaseModel]) -> None:
    from pydantic import ValidationError  # stages say in one sentence if it is missing

    try:
        keys.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key, message = ".".join(map(str, problem["loc"])), problem["msg"]
        found = "missing" if problem["type"] == "missing" else repr(problem["input"])
        raise ValueError(f"key '{key}' is {found} ({message[0].lower()}{message[1:]})") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")

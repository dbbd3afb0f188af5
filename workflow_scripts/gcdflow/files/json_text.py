"""JSON from files that may be broken: read strictly, with one kind of error."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def parse_json_object(text: str) -> dict[str, Any]:
    """A JSON object, all of which can be written again.

    Raises
    ------
    ValueError
        If the text is not JSON or not an object, nests too deeply, or holds NaN, infinity, a number
        too large for a float, or half of a surrogate pair. The message begins with "not".
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
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")

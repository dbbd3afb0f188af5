"""Ranges of numbers in short notation: ``3:20``, ``40:95:5``, ``5,7``."""

from __future__ import annotations

from pydantic import BeforeValidator

MAX_RANGE = 10_000  # values of one axis of the grid


def parse_range(text: object) -> list[int]:
    """Parse ``first:last[:step]`` (ends included) or a comma list: ``3:20``, ``40:95:5``, ``5,7``.

    Raises
    ------
    ValueError
        If the text has neither form, or the range is empty.
    """
    try:
        if ":" in str(text):
            first, last, *step = (int(part) for part in str(text).split(":"))
            if len(step) > 1:
                raise ValueError
            if step and step[0] < 1:  # range() would not include the end of a falling range
                raise ValueError
            numbers = range(first, last + 1, *step)
            if len(numbers) > MAX_RANGE:
                raise ValueError
            values = list(numbers)
        else:
            values = [int(part) for part in str(text).split(",")]
    except ValueError:
        values = []
    if not values:
        raise ValueError(
            f"{text!r} is not a range 'first:last[:step]' (ends included) of at most "
            f"{MAX_RANGE} numbers nor a comma list"
        )
    return values


def range_within(lowest: int, highest: int | None) -> BeforeValidator:
    """Accept the text of a range whose values all lie within bounds."""

    def check(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(
                f"found {value!r}, expected a range in quotes, such as '3:20' (without them YAML "
                "reads a number)"
            )
        for number in parse_range(value):
            if number < lowest or (highest is not None and number > highest):
                bounds = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
                raise ValueError(f"{value!r} holds {number}, expected {bounds}")
        return value

    return BeforeValidator(check)

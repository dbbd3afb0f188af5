"""The table of a run: one row per checkpoint epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gcdflow.errors import InputError
from gcdflow.files.json_text import parse_json_object

COLUMNS = (
    *("epoch", "all", "old", "new", "test all", "test old", "test new"),
    *("clusters", "core ratio", "labels changed"),
)


def read_metrics(path: Path) -> dict[str, Any]:
    """Read one ``metrics_epoch*.json``.

    Raises
    ------
    InputError
        If it is not such a file.
    """
    try:
        metrics = parse_json_object(path.read_text(encoding="utf-8"))
        _check(metrics)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a metrics file ({type(error).__name__}: {error})") from None
    return metrics


def read_run(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Read the metrics of the epochs of one run.

    Raises
    ------
    InputError
        If a file is not of metrics, two are of one epoch, or their truths differ.
    """
    metrics = [read_metrics(path) for path in paths]
    for i, (path, one) in enumerate(zip(paths, metrics, strict=True)):
        for other, earlier in zip(paths[:i], metrics[:i], strict=True):
            if one["epoch"] == earlier["epoch"]:
                raise InputError(f"{path}: is of epoch {one['epoch']}, as {other} is")
        if one["n_classes"] != metrics[0]["n_classes"]:
            raise InputError(
                f"{path}: was measured against {classes_of_truth(one)}, {paths[0]} against "
                f"{classes_of_truth(metrics[0])}; are they of one run?"
            )
    return metrics


def _check(metrics: dict[str, Any]) -> None:
    """Make sure that all numbers of the table are there and possible (ValueError and others)."""
    for kind in ("transductive", "inductive"):
        for part in ("all", "old", "new"):
            _check_number(f"{kind}.{part}", metrics[kind][part], 0, 1, optional=True)
    _check_number("core_ratio", metrics["core_ratio"], 0, 1)
    _check_number("label_change_rate", metrics["label_change_rate"], 0, 1, optional=True)
    whole = {"epoch": (0, 999), "n_clusters": (1, 10**9), "n_classes": (1, 10**9)}
    for name, (low, high) in whole.items():
        optional = name == "n_classes"
        _check_number(name, metrics[name], low, high, optional=optional, kinds=(int,))


def _check_number(
    name: str,
    value: object,
    low: float,
    high: float,
    *,
    optional: bool = False,
    kinds: tuple[type, ...] = (int, float),
) -> None:
    if value is None and optional:
        return
    if type(value) not in kinds or not low <= value <= high:
        what = "whole number" if kinds == (int,) else "number"
        raise ValueError(f"{name} is {value!r}, expected a {what} from {low} to {high}")


def classes_of_truth(metrics: dict[str, Any]) -> str:
    """The number of true classes in words, which may not be known."""
    n_classes = metrics["n_classes"]
    return "an unknown number of classes" if n_classes is None else f"{n_classes} classes"


def percent(share: float | None) -> str:
    """A share as a percentage, ``-`` where there is none."""
    return "-" if share is None else f"{100 * share:.1f}"


def row(metrics: dict[str, Any]) -> list[str]:
    """The cells of one epoch, in the order of :data:`COLUMNS`; accuracies in percent."""
    accuracies = [
        percent(metrics[kind][part])
        for kind in ("transductive", "inductive")
        for part in ("all", "old", "new")
    ]
    return [
        f"{metrics['epoch']:03d}",
        *accuracies,
        str(metrics["n_clusters"]),
        f"{metrics['core_ratio']:.2f}",
        percent(metrics["label_change_rate"]),
    ]


def markdown_table(metrics: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of a run, one row for each epoch."""
    return aligned_table(COLUMNS, [row(m) for m in sorted(metrics, key=lambda m: m["epoch"])])


def aligned_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, n_left: int = 0) -> str:
    """A Markdown table of aligned cells: the first ``n_left`` columns to the left, others right."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    left = [number < n_left for number in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(cells, widths, left, strict=True)
        )
        return "| " + " | ".join(padded) + " |"

    rule = [
        "-" * width if to_left else "-" * (width - 1) + ":"
        for width, to_left in zip(widths, left, strict=True)
    ]
    return "\n".join([line(columns), line(rule), *map(line, rows)])

"""The table of a run: one row per checkpoint epoch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gcdflow.errors import InputError

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
        metrics = json.loads(path.read_text(encoding="utf-8"))
        row(metrics)
        classes_of_truth(metrics)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a metrics file ({type(error).__name__}: {error})") from None
    return metrics


def classes_of_truth(metrics: dict[str, Any]) -> str:
    """The number of true classes in words, which may not be known."""
    n_classes = metrics["n_classes"]
    return "an unknown number of classes" if n_classes is None else f"{int(n_classes)} classes"


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
    """A Markdown table, aligned so that it reads well as plain text too."""
    rows = [row(m) for m in sorted(metrics, key=lambda m: m["epoch"])]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "| " + " | ".join("-" * (width - 1) + ":" for width in widths) + " |"
    return "\n".join([line(COLUMNS), rule, *map(line, rows)])

"""The table of a run: one row per checkpoint epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gcdflow.clustering.guidance import WHAT_TO_DO, collapse, is_against
from gcdflow.errors import InputError
from gcdflow.files.declared import METRICS, RunFile
from gcdflow.files.json_text import parse_json_object
from gcdflow.wording import counted

COLUMNS = (
    *("epoch", "all", "old", "new", "test all", "test old", "test new"),
    *("clusters", "core ratio", "labels changed", "agreement", "against labels"),
)


def read_metrics(path: Path) -> dict[str, Any]:
    """Read one ``metrics_epoch*.json``; InputError if it is not such a file."""
    return read_measured(path, METRICS)


def read_measured(path: Path, file: RunFile) -> dict[str, Any]:
    """Read metrics, a baseline, or the estimates that baselines share.

    Raises
    ------
    InputError
        If it is not such a file.
    """
    try:
        return parse_json_object(path.read_text(encoding="utf-8"), file.keys)
    except (OSError, ValueError) as error:
        kind = file.path.partition("_")[0]
        article = "an" if kind[0] in "aeiou" else "a"
        raise InputError(f"{path}: not {article} {kind} file ({error})") from None


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


def classes_of_truth(metrics: dict[str, Any]) -> str:
    """The number of true classes in words, which may not be known."""
    n_classes = metrics["n_classes"]
    return (
        "an unknown number of classes"
        if n_classes is None
        else counted(n_classes, "class", "classes")
    )


def range_of_clusters(metrics: dict[str, Any]) -> str:
    """The range of the number of clusters, such as `` (10–12)``; empty if there were no draws."""
    if "k_range" not in metrics:
        return ""
    least, most = metrics["k_range"]
    return f" ({least}–{most})"


def percent(share: float | None) -> str:
    """A share as a percentage, ``-`` where there is none."""
    return "-" if share is None else f"{100 * share:.1f}"


def row(metrics: dict[str, Any]) -> list[str]:
    """The cells of one epoch, in the order of :data:`COLUMNS`; shares in percent."""
    accuracies = [
        percent(metrics[kind][part])
        for kind in ("transductive", "inductive")
        for part in ("all", "old", "new")
    ]
    return [
        f"{metrics['epoch']:03d}",
        *accuracies,
        f"{metrics['n_clusters']}{range_of_clusters(metrics)}",
        f"{metrics['core_ratio']:.2f}",
        percent(metrics["label_change_rate"]),
        percent(metrics.get("agreement")),  # older files have neither
        percent(metrics.get("against_labels")),
    ]


def markdown_table(metrics: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of a run, one row for each epoch."""
    return aligned_table(COLUMNS, [row(m) for m in sorted(metrics, key=lambda m: m["epoch"])])


def selection_text(metrics: Sequence[dict[str, Any]]) -> str:
    """Which epoch is the result and who chose it, and how sure the number of clusters is."""
    last = max(metrics, key=lambda m: m["epoch"])
    text = (
        f"The result of the run is its last checkpoint, epoch {last['epoch']:03d}: the schedule "
        "chooses it,\nnever the truth.\n"
    )
    if "label_draws" in last:
        text += (
            "\nIn brackets: the least and most clusters that SSDDBC finds over "
            f"{counted(last['label_draws'], 'draw')} of labels\n(a bootstrap of the labelled "
            "images).\n"
        )
    return text


def warning_text(metrics: Sequence[dict[str, Any]]) -> str:
    """A Markdown list of the epochs whose features have collapsed, or whose clusters contradict the
    labels, and what to do.

    The text is empty if there is no such epoch.
    """
    by_epoch = sorted(metrics, key=lambda m: m["epoch"])
    collapsed = [
        f"- Warning: at epoch {m['epoch']:03d}, {said}."
        for m in by_epoch
        if (said := collapse(m.get("mean_cosine")))
    ]
    against = [
        f"- Warning: the clusters of epoch {m['epoch']:03d} contradict the labels: "
        f"{percent(m['against_labels'])} % of the labelled images are in a cluster where another "
        "class prevails."
        for m in by_epoch
        if is_against(m.get("against_labels"))
    ]
    what_to_do = ["", f"What to do: {WHAT_TO_DO}."] if against else []
    lines = [*collapsed, *against, *what_to_do]
    return "\n".join([*lines, ""]) if lines else ""


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

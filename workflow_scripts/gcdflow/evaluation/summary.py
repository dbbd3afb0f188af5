"""The tables of several runs: each run, and mean ± deviation over the runs of each setting."""

from __future__ import annotations

import csv
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from gcdflow.errors import InputError
from gcdflow.evaluation.comparison import SHARES, Compared, compared
from gcdflow.evaluation.report import aligned_table, read_metrics

# Title of each column in Markdown, and its metric.
_ACCURACIES = {
    f"{prefix}{part}": (kind, part)
    for prefix, kind in (("", "transductive"), ("test ", "inductive"))
    for part in ("all", "old", "new")
}
TSV_COLUMNS = (
    *("setting", "run", "state", "epoch"),
    *(f"{kind}_{part}" for kind, part in _ACCURACIES.values()),
    *("n_clusters", "n_classes", "core_ratio", "ari"),
    *(f"classifier_{kind}_{part}" for kind, part in _ACCURACIES.values()),
    "classifier_ari",
)
MARKDOWN_COLUMNS = ("setting", "runs", "epoch", *_ACCURACIES, "clusters")
# Columns of the comparison, and the factor of each.
_COMPARED = dict.fromkeys(SHARES, 100) | {"clusters": 1, "seconds": 1}


@dataclass(frozen=True)
class Result:
    """The result of one run.

    Attributes
    ----------
    setting : name of the group of runs, which differ only in their seeds
    path : the metrics file of the last epoch, in the folder of the run
    metrics : content of the file; None if it does not exist
    """

    setting: str
    path: Path
    metrics: dict[str, Any] | None

    @property
    def run(self) -> str:
        """Name of the run."""
        return self.path.absolute().parent.name


def parse_result(text: str) -> Result:
    """Read ``setting=path``, and the metrics if the file exists.

    Raises
    ------
    InputError
        If the text has another form, or the file does not hold metrics.
    """
    setting, separator, path = text.partition("=")
    if not (setting and separator and path):
        raise InputError(f"'{text}': expected setting=runs/<run>/metrics_epoch<epoch>.json")
    file = Path(os.path.expanduser(path))
    return Result(setting, file, read_metrics(file) if file.exists() else None)


def write_tsv(file: TextIO, results: Sequence[Result]) -> None:
    """Write one row for each run; shares are from 0 to 1, missing values are empty cells."""
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    writer.writerow(TSV_COLUMNS)
    for result in results:
        metrics = result.metrics
        if metrics is None:
            cells = [None] * (len(TSV_COLUMNS) - 3)
        else:
            whole = [metrics[name] for name in ("n_clusters", "n_classes", "core_ratio")]
            cells = [metrics["epoch"], *_accuracies(metrics), *whole, metrics.get("ari")]
            if (classifier := metrics.get("classifier")) is None:
                cells += [None] * (len(_ACCURACIES) + 1)
            else:
                cells += [*_accuracies(classifier), classifier["ari"]]
        state = "missing" if metrics is None else "done"
        writer.writerow([result.setting, result.run, state, *cells])


def _accuracies(measured: dict[str, Any]) -> list[float | None]:
    return [measured[kind][part] for kind, part in _ACCURACIES.values()]


def markdown_table(results: Sequence[Result]) -> str:
    """One row for each setting: mean ± sample standard deviation over its runs, in percent."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.setting, []).append(result)
    rows = [_row(setting, members) for setting, members in groups.items()]
    return aligned_table(MARKDOWN_COLUMNS, rows, n_left=1)


def _row(setting: str, members: Sequence[Result]) -> list[str]:
    done = [result.metrics for result in members if result.metrics is not None]
    n_runs = str(len(done)) if len(done) == len(members) else f"{len(done)} of {len(members)}"
    epochs = sorted({f"{metrics['epoch']:03d}" for metrics in done})
    accuracies = [
        mean_and_deviation([m[kind][part] for m in done], factor=100)
        for kind, part in _ACCURACIES.values()
    ]
    clusters = mean_and_deviation([m["n_clusters"] for m in done])
    return [setting, n_runs, ", ".join(epochs) or "missing", *accuracies, clusters]


def mean_and_deviation(values: Sequence[float | None], *, factor: float = 1) -> str:
    """``mean ± deviation`` (sample standard deviation, n - 1) with one decimal.

    One value has no deviation, and no value gives ``-``. Unknown values (None) do not count.
    """
    known = [factor * value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.fmean(known):.1f}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.1f}"


def compared_results(results: Sequence[Result], baselines: Sequence[Path]) -> str:
    """A Markdown table of all methods of the last epochs; empty if there is only SSDDBC.

    Parameters
    ----------
    baselines : ``baseline_*.json`` in the folders of the runs; those that do not exist do not count

    Returns
    -------
    str
        One row for each setting, method and way to the number of clusters: mean ± sample standard
        deviation over the runs.
    """
    groups: dict[tuple[str, str, str], list[Compared]] = {}
    for result in results:
        own = [path for path in baselines if path.parent == result.path.parent and path.exists()]
        if result.metrics is not None:
            for one in compared([result.metrics], own):
                key = (result.setting, one.method, one.result["number"])
                groups.setdefault(key, []).append(one)
    rows = [
        [
            *key,
            str(len(members)),
            *(
                mean_and_deviation([member.values[name] for member in members], factor=factor)
                for name, factor in _COMPARED.items()
            ),
        ]
        for key, members in groups.items()
    ]
    columns = ("setting", "method", "number", "runs", *_COMPARED)
    return aligned_table(columns, rows, n_left=3) if rows else ""


def missing_runs(results: Sequence[Result]) -> str:
    """The runs without metrics as lines of Markdown; empty if there are none."""
    absent = [result for result in results if result.metrics is None]
    if not absent:
        return ""
    lines = [f"- `{result.run}`: no `{result.path}`" for result in absent]
    return "\n".join(["", "Missing:", "", *lines, ""])

"""SSDDBC beside other clusterings of the same features, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcdflow.errors import InputError
from gcdflow.evaluation.report import aligned_table, percent, read_measured
from gcdflow.files.declared import BASELINE, GRID

SSDDBC = "SSDDBC"
COLUMNS = ("epoch", "method", "number", "all", "old", "new", "ARI", "clusters", "seconds")
EXPLANATION = (
    "Accuracy and adjusted Rand index (ARI) are in percent, of the unlabelled training images.\n"
    "The number of clusters is told (the true one), estimated (the one whose k-means clusters fit\n"
    "the labels best) or found by the method itself. Seconds include the estimate, or the search.\n"
)


@dataclass(frozen=True)
class Compared:
    """A clustering of an epoch's features.

    Attributes
    ----------
    epoch, method : of which epoch, and by which method
    result : ``number`` ("told", "estimated", "found"), ``transductive``, ``ari``, ``n_clusters``
        and ``seconds``; ``ari`` and ``seconds`` are None where they are not known
    """

    epoch: int
    method: str
    result: Mapping[str, Any]

    @property
    def values(self) -> dict[str, float | None]:
        """The numbers of a row by column, accuracies and ARI as shares."""
        accuracy = self.result["transductive"]
        return {
            **{part: accuracy[part] for part in ("all", "old", "new")},
            "ARI": self.result["ari"],
            "clusters": self.result["n_clusters"],
            "seconds": self.result["seconds"],
        }


def compared(metrics: Iterable[Mapping[str, Any]], baselines: Sequence[Path]) -> list[Compared]:
    """The clusterings of a run, in the order of epochs, SSDDBC first; empty without baselines.

    Parameters
    ----------
    metrics : contents of ``metrics_epoch*.json``
    baselines : ``baseline_*.json`` of the same run. The table of SSDDBC's grid search, which has
        its seconds, lies beside them.

    Raises
    ------
    InputError
        If a file is not of a baseline, or is of no epoch of the metrics or another truth.
    """
    by_epoch = {one["epoch"]: one for one in metrics}
    rows: list[Compared] = []
    for path in baselines:
        baseline = read_measured(path, BASELINE)
        epoch = baseline["epoch"]
        if epoch not in by_epoch:
            raise InputError(f"{path}: is of epoch {epoch}, of which there are no metrics")
        if baseline["n_classes"] != by_epoch[epoch]["n_classes"]:
            raise InputError(f"{path}: was measured against another truth than the metrics")
        if not any(row.epoch == epoch for row in rows):
            grid = path.with_name(GRID.path.format(epoch=f"{epoch:03d}"))
            rows.append(Compared(epoch, SSDDBC, _of_ssddbc(by_epoch[epoch], grid)))
        rows += [Compared(epoch, baseline["method"], result) for result in baseline["results"]]
    return sorted(rows, key=lambda row: row.epoch)


def _of_ssddbc(metrics: Mapping[str, Any], grid: Path) -> dict[str, Any]:
    seconds = None
    if grid.exists():
        from gcdflow.clustering.heatmap import read_grid_table  # NumPy, which no table else needs

        seconds = float(read_grid_table(grid, "seconds")["seconds"].sum())
    return {
        "number": "found",
        "transductive": metrics["transductive"],
        "ari": metrics.get("ari"),  # older files have none
        "n_clusters": metrics["n_clusters"],
        "seconds": seconds,
    }


def markdown_comparison(rows: Sequence[Compared]) -> str:
    """A Markdown table of a run's clusterings."""
    return aligned_table(COLUMNS, [cells(row) for row in rows], n_left=3)


def cells(row: Compared) -> list[str]:
    """The cells of one clustering, in the order of :data:`COLUMNS`; shares in percent."""
    values = row.values
    shares = [percent(values[name]) for name in ("all", "old", "new", "ARI")]
    seconds = "-" if values["seconds"] is None else f"{values['seconds']:.1f}"
    first = [f"{row.epoch:03d}", row.method, row.result["number"]]
    return [*first, *shares, str(values["clusters"]), seconds]

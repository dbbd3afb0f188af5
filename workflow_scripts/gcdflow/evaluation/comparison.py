"""SSDDBC beside a run's classifier and other clusterings of its features, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcdflow.errors import InputError
from gcdflow.evaluation.report import aligned_table, percent, read_measured
from gcdflow.files.declared import BASELINE, GRID

SSDDBC, CLASSIFIER = "SSDDBC", "classifier"
SHARES = ("all", "old", "new", "ARI", "test all")
COLUMNS = ("epoch", "method", "number", *SHARES, "clusters", "seconds")
EXPLANATION = (
    "Beside SSDDBC: the classifier of the run, if it has one, and the other methods that it\n"
    "names, on the same features. Accuracy and adjusted Rand index (ARI) are in percent, of\n"
    "the unlabelled training images; test: of the test split. The number of clusters is told\n"
    "(the true one), estimated (the one whose k-means clusters fit the labels best), by\n"
    "silhouette (the one whose clusters are tight, and fit labels that are withheld) or found\n"
    "by the method itself; that of a classifier is how many of its prototypes have a training\n"
    "image. Seconds include the estimate, or the search.\n"
)


@dataclass(frozen=True)
class Compared:
    """The categories that a method gives the images at an epoch.

    Attributes
    ----------
    epoch, method : of which epoch, and by which method
    result : ``number`` (as of :class:`gcdflow.files.keys.BaselineResult`, or "-" of a classifier),
        ``transductive``, ``ari``, ``n_clusters`` and ``seconds``, and ``inductive`` of some
        methods; ``ari`` and ``seconds`` are None where they are not known
    """

    epoch: int
    method: str
    result: Mapping[str, Any]

    @property
    def values(self) -> dict[str, float | None]:
        """The numbers of a row by column, accuracies and ARI as shares."""
        accuracy, of_test = self.result["transductive"], self.result.get("inductive", {})
        return {
            **{part: accuracy[part] for part in ("all", "old", "new")},
            "ARI": self.result["ari"],
            "test all": of_test.get("all"),
            "clusters": self.result["n_clusters"],
            "seconds": self.result["seconds"],
        }


def compared(metrics: Iterable[Mapping[str, Any]], baselines: Sequence[Path]) -> list[Compared]:
    """All methods of a run, in the order of epochs, SSDDBC first, then the run's classifier.

    An epoch without a classifier and baselines has no rows.

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
    others = {
        epoch: [Compared(epoch, CLASSIFIER, _of_classifier(one["classifier"]))]
        for epoch, one in by_epoch.items()
        if one.get("classifier")
    }
    folders = {}
    for path in baselines:
        baseline = read_measured(path, BASELINE)
        epoch = baseline["epoch"]
        if epoch not in by_epoch:
            raise InputError(f"{path}: is of epoch {epoch}, which has no metrics")
        if baseline["n_classes"] != by_epoch[epoch]["n_classes"]:
            raise InputError(f"{path}: was measured against another truth than the metrics")
        folders[epoch] = path.parent
        results = [Compared(epoch, baseline["method"], result) for result in baseline["results"]]
        others.setdefault(epoch, []).extend(results)
    rows: list[Compared] = []
    for epoch in sorted(others):
        rows += [
            Compared(epoch, SSDDBC, _of_ssddbc(by_epoch[epoch], folders.get(epoch))),
            *others[epoch],
        ]
    return rows


def _of_ssddbc(metrics: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    grid = folder and folder / GRID.path.format(epoch=f"{metrics['epoch']:03d}")
    seconds = None
    if grid and grid.exists():
        from gcdflow.clustering.heatmap import read_grid_table  # NumPy, which no table else needs

        seconds = float(read_grid_table(grid, "seconds")["seconds"].sum())
    return {**metrics, "number": "found", "ari": metrics.get("ari"), "seconds": seconds}


def _of_classifier(found: Mapping[str, Any]) -> dict[str, Any]:
    return {**found, "number": "-", "n_clusters": found["n_categories"], "seconds": None}


def markdown_comparison(rows: Sequence[Compared]) -> str:
    """A Markdown table of a run's clusterings."""
    return aligned_table(COLUMNS, [cells(row) for row in rows], n_left=3)


def cells(row: Compared) -> list[str]:
    """The cells of one clustering, in the order of :data:`COLUMNS`; shares in percent."""
    values = row.values
    shares = [percent(values[name]) for name in SHARES]
    seconds = "-" if values["seconds"] is None else f"{values['seconds']:.1f}"
    first = [f"{row.epoch:03d}", row.method, row.result["number"]]
    return [*first, *shares, str(values["clusters"]), seconds]

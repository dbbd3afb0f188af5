"""Put every image of a run into a category, with a name and a confidence."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from gcdflow.categories.confidence import measured
from gcdflow.categories.naming import name_clusters, new_names
from gcdflow.categories.newcomers import Newcomers
from gcdflow.clustering.predict import cluster_test_samples, load_clustered, rows_at
from gcdflow.errors import InputError
from gcdflow.files.atomic import atomic_write
from gcdflow.files.declared import ASSIGNMENTS, CELLS
from gcdflow.files.formats import UNLABELLED, Features, Labels, PseudoLabels, Split, align
from gcdflow.wording import counted

COLUMNS = ASSIGNMENTS.columns()
_DECIMALS = 3  # of confidences: what is decided by them is decided by what the table shows
# How far from 1 confidences lie depends on the features, so they are compared with those of the
# category. On the digits run this share finds three quarters of the wrong ones, and seven of ten
# that it finds are wrong; a fixed bound of 0.1 finds one in fifty.
DOUBTFUL_SHARE = 2 / 3


@dataclass(frozen=True)
class Assignments:
    """The rows of ``assignments.csv``, one a sample in the order of the split.

    Attributes
    ----------
    paths : list of n str, image file, or sample id where there are no files
    categories : list of n str
    confidences : float (n,), 0…1; 1 where a person said it
    core_mask : bool (n,), core points of the clustering
    labels : list of n str, what a person said; empty where nobody said anything
    suggested : list of n str, category of a labelled sample's cluster, if that is another
    train_mask : bool (n,)
    clusters : int64 (n,)
    left_out : dict of str to str, path of each image that is in no category, and why
    class_names : set of str, names that a person gave, also to images that are not among these; the
        table does not hold it
    """

    paths: list[str]
    categories: list[str]
    confidences: np.ndarray
    core_mask: np.ndarray
    labels: list[str]
    suggested: list[str]
    train_mask: np.ndarray
    clusters: np.ndarray
    left_out: dict[str, str] = field(default_factory=dict)
    class_names: frozenset[str] = frozenset()

    @cached_property
    def doubtful(self) -> np.ndarray:
        """bool (n,), unlabelled, and of confidence 0 or below two thirds of its category's median.

        Labelled samples do not count for the median.
        """
        _, members = np.unique(self.categories, return_inverse=True)
        bounds, is_open = np.zeros(len(members)), ~self.labelled_mask
        for category in np.unique(members[is_open]).tolist():
            here = (members == category) & is_open
            bounds[here] = DOUBTFUL_SHARE * np.median(self.confidences[here])
        return is_open & ((self.confidences < bounds) | (self.confidences == 0))

    @cached_property
    def labelled_mask(self) -> np.ndarray:
        """bool (n,), a person said what it is."""
        return np.array([bool(label) for label in self.labels], dtype=bool)

    @property
    def old_categories(self) -> set[str]:
        """Names that a person gave; all labels are such."""
        return self.class_names | (set(self.labels) - {""})

    def knowing(self, names: Iterable[str]) -> Assignments:
        """These rows, and more names that a person gave."""
        known = replace(self, class_names=self.class_names | set(names))
        return known._with_doubtful(self.doubtful)

    def at(self, positions: np.ndarray, paths: list[str], left_out: dict[str, str]) -> Assignments:
        """Some of the rows, under other paths; what is doubtful stays so.

        Parameters
        ----------
        positions : int (m,)
        paths : list of m str
        """
        chosen = positions.tolist()
        rows = Assignments(
            paths=paths,
            categories=[self.categories[i] for i in chosen],
            confidences=self.confidences[positions],
            core_mask=self.core_mask[positions],
            labels=[self.labels[i] for i in chosen],
            suggested=[self.suggested[i] for i in chosen],
            train_mask=self.train_mask[positions],
            clusters=self.clusters[positions],
            left_out=left_out,
            class_names=self.class_names,
        )
        return rows._with_doubtful(self.doubtful[positions])

    def _with_doubtful(self, doubtful: np.ndarray) -> Assignments:
        """These rows, of which others than themselves decided what is doubtful."""
        vars(self)["doubtful"] = doubtful  # where cached_property keeps it
        return self

    def save(self, path: str | Path) -> None:
        """Write the CSV file atomically: UTF-8 with the mark that spreadsheets know it by."""
        with atomic_write(path, "w") as file:
            file.write("\ufeff")
            rows = zip(
                self.paths,
                self.categories,
                (f"{value:.{_DECIMALS}f}" for value in self.confidences),
                ("true" if doubtful else "false" for doubtful in self.doubtful),
                ("true" if core else "false" for core in self.core_mask),
                self.labels,
                self.suggested,
                ("train" if train else "test" for train in self.train_mask),
                map(str, self.clusters.tolist()),
                [""] * len(self.paths),
                strict=True,
            )
            left_out = (_row_left_out(path, why) for path, why in self.left_out.items())
            plain = csv.writer(file, lineterminator="\n")
            # Python's writer leaves a carriage return bare, and its reader then ends the row there.
            quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
            for row in itertools.chain([COLUMNS], rows, left_out):
                (quoted if "\r" in "".join(row) else plain).writerow(row)

    @classmethod
    def load(cls, path: str | Path) -> Assignments:
        """Read and check ``assignments.csv``.

        Raises
        ------
        InputError
            If it is missing or not such a file.
        """
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                header, *rows = csv.reader(file, strict=True)
            if tuple(header) != COLUMNS:
                raise ValueError("the first line names other columns")
            for number, row in enumerate(rows, start=1):
                _check_row(row, number)
            left_out = {row[0]: row[-1] for row in rows if row[-1]}
            rows = [row for row in rows if not row[-1]]
            column = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True)) if rows else {}
            found = cls(
                paths=list(column.get("path", ())),
                categories=list(column.get("category", ())),
                confidences=np.array(column.get("confidence", ()), dtype=np.float64),
                core_mask=np.array([text == "true" for text in column.get("core_point", ())], bool),
                labels=list(column.get("label", ())),
                suggested=list(column.get("suggested", ())),
                train_mask=np.array([text == "train" for text in column.get("split", ())], bool),
                clusters=np.array([int(text) for text in column.get("cluster", ())], np.int64),
                left_out=left_out,
            )
            doubtful = np.array([text == "true" for text in column.get("doubtful", ())], bool)
            return found._with_doubtful(doubtful)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, csv.Error) as error:
            raise InputError(
                f"{path}: not a table of assignments; expected a CSV file with the columns "
                f"{', '.join(COLUMNS)} ({error})"
            ) from None

    def summary(self) -> str:
        """One line: images, categories of a person and discovered, share of doubtful ones."""
        found, old = set(self.categories), self.old_categories
        share = self.doubtful.mean() if len(self.doubtful) else 0.0
        left_out = f"; {len(self.left_out)} left out" if self.left_out else ""
        return (
            f"{counted(len(self.paths), 'image')} in "
            f"{counted(len(found), 'category', 'categories')}: {len(found & old)} of yours, "
            f"{len(found - old)} discovered; {100 * share:.0f} % doubtful{left_out}"
        )


def _row_left_out(path: str, problem: str) -> list[str]:
    """The row of an image that is in no category; columns of numbers and of truths stay such."""
    cells = {"path": path, "doubtful": "false", "core_point": "false", "cluster": "-1"}
    return [{**cells, "problem": problem}.get(name, "") for name in COLUMNS]


def _check_row(row: list[str], number: int) -> None:
    """Make sure that a row is one that :meth:`Assignments.save` could write (ValueError)."""
    if len(row) != len(COLUMNS):
        raise ValueError(f"row {number} has {len(row)} cells")
    cell = dict(zip(COLUMNS, row, strict=True))
    if cell["problem"] and row != _row_left_out(cell["path"], cell["problem"]):
        raise ValueError(f"row {number} has a problem, but is in a category")
    if cell["problem"]:
        return
    wrong = [f.name for f in ASSIGNMENTS.fields if not re.fullmatch(CELLS[f.kind], cell[f.name])]
    if cell["label"] not in ("", cell["category"]):
        wrong.append("label")
    if cell["suggested"] == cell["category"]:
        wrong.append("suggested")
    if wrong:
        raise ValueError(f"row {number} has the {wrong[0]} '{cell[wrong[0]]}'")


def assign(
    split_path: Path,
    features_path: Path,
    pseudo_path: Path,
    labels_path: Path | None = None,
    *,
    threads: int = 1,
) -> Assignments:
    """Category and confidence of every sample of a split (see :func:`sort_samples`)."""
    found, _ = sort_samples(split_path, features_path, pseudo_path, labels_path, threads=threads)
    return replace(found, left_out=Split.load(split_path).left_out)


def sort_samples(
    split_path: Path,
    features_path: Path,
    pseudo_path: Path,
    labels_path: Path | None = None,
    newcomers: Newcomers | None = None,
    *,
    threads: int = 1,
) -> tuple[Assignments, np.ndarray]:
    """Category and confidence of every sample of a split, then of newcomers.

    What a person said of a sample stands, for certain; what its cluster is, if that is another, is
    a suggestion. All others are what their cluster is (:func:`name_clusters`); the test split and
    newcomers go to clusters by their nearest core points. A newcomer without a label does not count
    for the names, so that these stay the same however many are added.

    Parameters
    ----------
    labels_path : Path or None
        ``labels.npz``, whose labels replace those of the split; it may label newcomers.

    Returns
    -------
    Assignments
    strangers : bool (n + m,)
        Newcomers that resemble no category.

    Raises
    ------
    InputError
        If a file is not valid, or the files do not belong together.
    """
    split = Split.load(split_path)
    features, pseudo, at = load_clustered(features_path, pseudo_path)
    order = _order_of(split, split_path, features, features_path)
    n, ids = len(order), split.indices
    if newcomers is not None:
        features = newcomers.joined(features_path, features)
        order = np.concatenate([order, np.arange(n, len(features.indices))])
        ids = np.concatenate([ids, newcomers.indices])
    labels, class_names = _current_labels(split, ids, labels_path)

    clusters, core = np.full(len(order), UNLABELLED, dtype=np.int64), np.zeros(len(order), bool)
    clusters[at], core[at] = pseudo.labels, pseudo.core_mask
    test, test_clusters = cluster_test_samples(features, pseudo, at, threads)
    clusters[test] = test_clusters
    clusters, core, train = clusters[order], core[order], features.train_mask[order]

    names = class_names + new_names(pseudo.n_clusters, class_names)
    labelled = labels != UNLABELLED
    counts = labelled | (np.arange(len(order)) < n)
    of_cluster = name_clusters(
        clusters[counts], labels[counts], len(class_names), pseudo.n_clusters
    )
    found = of_cluster[clusters]
    own = np.where(labelled, labels, found)
    rows = _centred_rows(features, pseudo, order)
    sure, distances = measured(rows, own, core, found, threads)
    strangers = np.zeros(len(order), dtype=bool)
    if newcomers is not None:
        strangers[n:] = newcomers.strangers(distances) & ~labelled[n:]
    return Assignments(
        paths=[*sample_names(split), *map(str, ids[n:].tolist())],
        categories=[names[category] for category in own],
        confidences=np.round(np.where(labelled, 1.0, sure), _DECIMALS),
        core_mask=core,
        labels=["" if label == UNLABELLED else class_names[label] for label in labels],
        suggested=["" if a == b else names[b] for a, b in zip(own, found, strict=True)],
        train_mask=train,
        clusters=clusters,
        class_names=frozenset(class_names),
    ), strangers


def _order_of(
    split: Split, split_path: Path, features: Features, features_path: Path
) -> np.ndarray:
    """Positions of the split's samples in the features; InputError if these are of another run."""
    align(split_path, split.indices, features.indices)
    order = align(features_path, features.indices, split.indices)
    for name in ("labels", "train_mask"):
        differ = getattr(features, name)[order] != getattr(split, name)
        if differ.any():
            raise InputError(
                f"{features_path}: '{name}' of {differ.sum()} samples is not that of {split_path} "
                f"(first: sample {split.indices[np.argmax(differ)]}); does the file belong to "
                "this run?"
            )
    return order


def _current_labels(
    split: Split, ids: np.ndarray, labels_path: Path | None
) -> tuple[np.ndarray, list[str]]:
    """Label of each id, which are those of the split and then newcomers; and the classes."""
    n = len(split.indices)
    labels = np.full(len(ids), UNLABELLED, dtype=np.int64)
    if labels_path is None:
        labels[:n] = split.labels
        return labels, split.old_class_names.tolist()
    newer = Labels.load(labels_path)
    labels[:n] = newer.labels[align(labels_path, newer.indices, split.indices)]
    new = n + np.flatnonzero(np.isin(ids[n:], newer.indices))
    labels[new] = newer.labels[align(labels_path, newer.indices, ids[new])]
    return labels, newer.class_names.tolist()


def sample_names(split: Split) -> list[str]:
    """What the rows of a table call the samples: their files, or their ids where there are none."""
    return (split.paths if len(split.paths) else split.indices.astype(np.str_)).tolist()


def _centred_rows(features: Features, pseudo: PseudoLabels, order: np.ndarray) -> np.ndarray:
    """Features as the clustering saw them, float32 (n, d), in the split's order.

    Distances are those of the rows themselves, but with the mean taken off (and before the rounding
    to float32) the differences of squares that they come from lose fewer digits.
    """
    rows = np.empty((len(order), features.features.shape[1]), dtype=np.float32)
    parts = [order[start : start + 4096] for start in range(0, len(order), 4096)]
    mean = sum(rows_at(features, pseudo, part).sum(axis=0, dtype=np.float64) for part in parts)
    mean = mean / max(1, len(order))
    for i, part in enumerate(parts):
        rows[4096 * i : 4096 * i + len(part)] = rows_at(features, pseudo, part) - mean
    return rows


def load_assignments(path: Path, split_path: Path, split: Split) -> Assignments:
    """Read assignments and check that they belong to this split.

    Raises
    ------
    InputError
        If the file is not valid, or has other images. Of photographs, it has those that are there
        now.
    """
    assignments, names = Assignments.load(path), sample_names(split)
    if split.source.get("dataset") == "photos":  # some may have come, gone or moved
        return assignments
    if len(assignments.paths) != len(names):
        raise InputError(
            f"{path}: holds {len(assignments.paths)} images, expected the {len(names)} of "
            f"{split_path}; does the file belong to this run?"
        )
    for i, (found, expected) in enumerate(zip(assignments.paths, names, strict=True)):
        if found != expected:
            raise InputError(
                f"{path}: image {i + 1} is '{found}', expected '{expected}' as in {split_path}; "
                "does the file belong to this run?"
            )
    return assignments

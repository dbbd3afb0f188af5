"""Samples and their distinct rows: what depends on a row alone is computed once for equal ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np

from gcdflow.ssddbc._points import ROWS_PER_TASK, Points, make_points
from gcdflow.ssddbc._workers import Workers


@dataclass(frozen=True)
class Membership:
    """Which clusters the samples of each row are members of.

    Entry r of the arrays is the first cluster of row r. Where the samples of a row are members of
    several clusters, further entries follow after those of all rows.

    Attributes
    ----------
    clusters : (g + e,) int32, -1 for rows without a member.
    copies : (g + e,) int32, number of samples that are members.
    following : (g + e,) int32, the next entry of the same row, -1 after the last.
    """

    clusters: np.ndarray
    copies: np.ndarray
    following: np.ndarray


@dataclass(frozen=True)
class Samples:
    """n samples, of which some may have equal rows.

    Equal rows have equal distances to everything, hence equal densities, and are core points
    together. Only labels, and with them the growth of clusters, tell them apart.

    Attributes
    ----------
    points : Points, the g distinct rows, in the order of their first samples.
    row_of : (n,) int64, the row of each sample.
    start, members : (g + 1,) and (n,) int64; the samples of row r are
        ``members[start[r]:start[r + 1]]``, ascending.
    """

    points: Points
    row_of: np.ndarray
    start: np.ndarray
    members: np.ndarray

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def has_copies(self) -> bool:
        """Whether some rows are equal."""
        return len(self.points) < len(self)

    @cached_property
    def first(self) -> np.ndarray:
        """The first sample of each row, (g,) int64."""
        return self.members[self.start[:-1]]

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of the samples (n, …) from those of their rows (g, …)."""
        return values[self.row_of] if self.has_copies else values

    def of_rows(self, values: np.ndarray) -> np.ndarray:
        """Values of the rows (g, …) from those of the samples (n, …), where equal rows agree."""
        return values[self.first] if self.has_copies else values

    def membership(self, labels: np.ndarray) -> Membership:
        """Members of clusters, from (n,) int32 clusters of the samples, -1 for non-members."""
        if not self.has_copies:
            return Membership(labels, *self._single)
        members = np.flatnonzero(labels >= 0)
        pairs = self.row_of[members] * (int(labels.max()) + 1) + labels[members]
        pairs, copies = np.unique(pairs, return_counts=True)
        rows, clusters = np.divmod(pairs, int(labels.max()) + 1)
        is_first = np.diff(rows, prepend=-1) > 0
        g, further = len(self.points), int((~is_first).sum())
        entries = rows.copy()
        entries[~is_first] = g + np.arange(further)
        found = Membership(*(np.full(g + further, v, dtype=np.int32) for v in (-1, 0, -1)))
        found.clusters[entries], found.copies[entries] = clusters, copies
        follows = np.flatnonzero(~is_first)
        found.following[entries[follows - 1]] = entries[follows]
        return found

    @cached_property
    def _single(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies and following entries, if no rows are equal."""
        n = len(self)
        return np.ones(n, dtype=np.int32), np.full(n, -1, dtype=np.int32)


def make_samples(rows: np.ndarray, workers: Workers, marks: np.ndarray | None = None) -> Samples:
    """Samples from (n, d) float64 rows.

    Parameters
    ----------
    marks : (n,) bool or None, equal rows with different marks count as distinct.
    """
    marks = np.zeros(len(rows), dtype=bool) if marks is None else marks

    def digests(start: int) -> list[tuple[bytes, bool]]:
        part = slice(start, start + ROWS_PER_TASK)
        found = [blake2b(row, digest_size=16).digest() for row in rows[part] + 0.0]  # -0.0 is 0.0
        return list(zip(found, marks[part].tolist(), strict=True))

    seen: dict[tuple[bytes, bool], int] = {}
    parts = workers.run(digests, range(0, len(rows), ROWS_PER_TASK))
    row_of = np.array([seen.setdefault(digest, len(seen)) for part in parts for digest in part])
    row_of = row_of.astype(np.int64)
    if len(seen) < len(rows):
        rows = rows[np.unique(row_of, return_index=True)[1]]
    points = make_points(rows, workers)
    start = np.zeros(len(points) + 1, dtype=np.int64)
    np.cumsum(np.bincount(row_of, minlength=len(points)), out=start[1:])
    return Samples(points, row_of, start, np.argsort(row_of, kind="stable"))

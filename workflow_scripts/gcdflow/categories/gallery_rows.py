"""The rows of the gallery: which images a category shows, and the order of the categories."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gcdflow.categories.assignments import Assignments

# This many thumbnails of photographs take 25 MB, which a browser opens in a second or two.
_MOST_ON_A_PAGE = 4000
_LEAST_OF_A_CATEGORY = 4


@dataclass(frozen=True)
class GalleryRow:
    """A category and its shown images.

    Attributes
    ----------
    name : str
    is_new : bool
    positions : int64 (m,), all samples: labelled ones first (questioned labels last among them),
        then the others by decreasing confidence
    typical, tail : int64, samples shown at the beginning and at the end
    """

    name: str
    is_new: bool
    positions: np.ndarray
    typical: np.ndarray
    tail: np.ndarray

    @property
    def n_left_out(self) -> int:
        """Number of images that are not shown."""
        return len(self.positions) - len(self.typical) - len(self.tail)


def choose(assignments: Assignments, most: int) -> list[GalleryRow]:
    """Choose the order of the categories on the page, and the images to show.

    Old classes come first, by name, then new ones, by number. If a category has more than ``most``
    images, three quarters of the shown ones are the most certain, and a quarter the least certain.
    Labelled images say little about the network, so they fill at most a quarter if there are enough
    others.

    Parameters
    ----------
    most : int
        Largest number of images per category.
    """
    old, rows = assignments.old_categories, []
    categories = np.array(assignments.categories, dtype=np.str_)
    for name in sorted(set(assignments.categories), key=lambda name: page_order(name, old)):
        members = np.flatnonzero(categories == name)
        is_labelled = assignments.labelled_mask[members]
        given, sorted_in = members[is_labelled], members[~is_labelled]
        given = given[np.argsort([assignments.suggested[i] != "" for i in given], kind="stable")]
        certainty = -assignments.confidences[sorted_in]
        sorted_in = sorted_in[np.argsort(certainty, kind="stable")]
        if len(members) > most:
            n_tail = min(most // 4, len(sorted_in))
            n_given = min(len(given), max(most // 4, most - len(sorted_in)))
            n_typical = most - n_tail - n_given
        else:
            n_tail, n_given = int(assignments.doubtful[members].sum()), len(given)
            n_typical = len(sorted_in) - n_tail
        typical = np.concatenate([given[len(given) - n_given :], sorted_in[:n_typical]])
        tail = sorted_in[len(sorted_in) - n_tail :]
        positions = np.concatenate([given, sorted_in])
        rows.append(GalleryRow(name, name not in old, positions, typical, tail))
    return rows


def fits(n: int) -> bool:
    """Whether a page can hold so many thumbnails."""
    return n <= _MOST_ON_A_PAGE


def affordable(sizes: Sequence[int], most: int) -> int:
    """Number of images to show per category, so that the page does not become too large.

    Parameters
    ----------
    sizes : sequence of int, number of images of each category
    most : int
        Requested number; the result may be smaller, but not below 4.
    """
    while most > _LEAST_OF_A_CATEGORY and not fits(np.minimum(sizes, most).sum()):
        most -= 1
    return most


def page_order(name: str, old: set[str]) -> tuple:
    """What sorts the categories: old classes by name, then new ones by number."""
    number = re.search(r"\d+$", name)
    if name in old or number is None:
        return (name not in old, 0, name.casefold(), name)
    return (True, int(number[0]), name.casefold(), name)


def side_by_side(rows: list[GalleryRow], means: np.ndarray) -> tuple[list[GalleryRow], list[bool]]:
    """Put categories that look alike next to each other.

    The order is that of the leaves of a tree (average linkage), turned so that neighbours are as
    near as possible.

    Parameters
    ----------
    rows : list of c GalleryRow
    means : float (c, d), what stands for each category

    Returns
    -------
    rows
    looks_alike : list of bool
        Whether a row and the one before it may be the same: one is the nearest to the other.
    """
    if len(rows) < 2:
        return rows, [False] * len(rows)
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import pdist, squareform

    between = pdist(means)
    order = leaves_list(linkage(between, "average", optimal_ordering=True)).tolist()
    if order[-1] < order[0]:  # the tree has no first end; take the one that is first by name
        order.reverse()
    distances = squareform(between)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    pairs = itertools.pairwise(order)
    alike = [bool(nearest[a] == b or nearest[b] == a) for a, b in pairs]
    return [rows[i] for i in order], [False, *alike]


def category_means(
    rows: list[GalleryRow], assignments: Assignments, features: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """Mean direction of each category's core points (of all members, if none is one), (c, d).

    Parameters
    ----------
    features : float (m, d)
    at : int64 (n,), row of each image in the features; -1 where it has none, as all images of a
        category may have: its mean is then 0
    """
    means = np.zeros((len(rows), features.shape[1]))
    for mean, row in zip(means, rows, strict=True):
        members = row.positions[at[row.positions] >= 0]
        core = members[assignments.core_mask[members]]
        vectors = features[at[core if len(core) else members]].astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if len(vectors):
            mean[:] = (vectors / np.where(lengths > 0, lengths, 1)).mean(axis=0)
    return means

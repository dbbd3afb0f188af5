"""The names of clusters: old classes where labels say so, and new ones by number."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from gcdflow.files.formats import UNLABELLED


def new_names(how_many: int, class_names: Sequence[str]) -> list[str]:
    """``new-1``, ``new-2``, … without those that are names of classes."""
    taken = set(class_names)
    free = (name for i in itertools.count(1) if (name := f"new-{i}") not in taken)
    return list(itertools.islice(free, how_many))


def name_clusters(
    clusters: np.ndarray, labels: np.ndarray, n_classes: int, n_clusters: int
) -> np.ndarray:
    """Category of each cluster: an old class, or a new category of its own.

    A cluster is the old class that most of its labelled members have, if these are

    * at least half of its labelled members, and
    * as many as in no other cluster, or at least two and a quarter of all samples with that label,
      or a quarter of the cluster.

    So one labelled photograph names its cluster of a hundred, as the person who labelled it
    expects. But the few samples of a class with its home elsewhere that strayed into the cluster of
    a new one do not name it, nor does one of the three that have a label at all: a new category
    under an old name would be lost, while a part of an old class under a new name is seen, and
    mended by one more label.

    Several clusters may be one old class. The others are new, in decreasing order of their
    unlabelled members (the ones that will bear the name); ties go to the lower cluster.

    Parameters
    ----------
    clusters : int64 (n,)
    labels : int64 (n,), 0…n_classes-1, -1 where there is none

    Returns
    -------
    int64 (n_clusters,)
        0…n_classes-1 for old classes, n_classes + i for the i-th new category.
    """
    labelled = labels != UNLABELLED
    count = np.zeros((n_clusters, max(1, n_classes)), dtype=np.int64)
    np.add.at(count, (clusters[labelled], labels[labelled]), 1)
    best = count.argmax(axis=1)
    hits, n_labelled = count.max(axis=1), count.sum(axis=1)
    sizes = np.bincount(clusters, minlength=n_clusters)
    is_at_home = (hits == count.max(axis=0)[best]) | (4 * hits >= sizes)
    is_at_home |= (hits >= 2) & (4 * hits >= count.sum(axis=0)[best])
    is_old = (n_labelled > 0) & (2 * hits >= n_labelled) & is_at_home
    new = np.flatnonzero(~is_old)
    by_size = new[np.argsort(-(sizes - n_labelled)[new], kind="stable")]
    categories = best.copy()
    categories[by_size] = n_classes + np.arange(len(new))
    return categories

"""Accuracy of a clustering against the truth (see :mod:`gcdflow.clustering.matching`)."""

from __future__ import annotations

import numpy as np

from gcdflow.clustering.matching import best_pairs, overlap


def clustering_accuracy(
    clusters: np.ndarray, truth: np.ndarray, old: np.ndarray
) -> dict[str, float | None]:
    """Share of samples whose cluster is matched to their true class.

    Parameters
    ----------
    clusters : ndarray of int, shape (n,)
        Cluster of each sample. Ids may have gaps, and the number of clusters may differ from the
        number of classes.
    truth : ndarray of int, shape (n,)
        True class of each sample.
    old : ndarray of bool, shape (n,)
        Whether the sample's true class is an old one.

    Returns
    -------
    dict
        ``all``, ``old``, ``new`` ("v2"): one matching over all samples, then split by ``old``.
        ``all_v1``, ``old_v1``, ``new_v1`` ("v1"): old and new samples are matched separately;
        ``all_v1`` is their mean, weighted by the number of samples. Values are floats in [0, 1], or
        None if no such sample exists. No v1 value is below its v2 counterpart.

    Notes
    -----
    Several best matchings over all samples may divide the hits differently between old and new
    samples. The function chooses one with the most hits on old samples. The result therefore
    depends only on the partition, not on the numbers of the clusters.

    References
    ----------
    Vaze, Han, Vedaldi, Zisserman: Generalized Category Discovery, CVPR 2022, arXiv:2201.02609;
    functions ``split_cluster_acc_v1`` and ``split_cluster_acc_v2`` in its code.
    """
    counts_old = overlap(clusters, truth, old)
    counts_new = overlap(clusters, truth, ~old)
    n_old, n_new = int(old.sum()), int((~old).sum())

    # The factor exceeds any possible number of old hits, so these only break ties. The weights are
    # exact in the solver's float64 for up to 9e7 samples.
    matched = best_pairs((counts_old + counts_new) * (n_old + 1) + counts_old)
    hits_old, hits_new = (int(counts[matched].sum()) for counts in (counts_old, counts_new))
    hits_old_v1, hits_new_v1 = (
        int(counts[best_pairs(counts)].sum()) for counts in (counts_old, counts_new)
    )
    return {
        "all": _share(hits_old + hits_new, n_old + n_new),
        "old": _share(hits_old, n_old),
        "new": _share(hits_new, n_new),
        "all_v1": _share(hits_old_v1 + hits_new_v1, n_old + n_new),
        "old_v1": _share(hits_old_v1, n_old),
        "new_v1": _share(hits_new_v1, n_new),
    }


def _share(hits: int, total: int) -> float | None:
    return hits / total if total else None

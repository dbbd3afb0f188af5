"""Offline clustering of a feature cache: SSDDBC grid search to pseudo labels and a grid table."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from gcdflow import __version__
from gcdflow.clustering.guidance import edges_of_grid, guidance_warnings
from gcdflow.clustering.matching import count_against_labels, label_change_rate, merged_by_class
from gcdflow.clustering.memory import available_memory
from gcdflow.config.ranges import parse_range
from gcdflow.config.settings import ClusteringSettings
from gcdflow.errors import InputError
from gcdflow.files.atomic import atomic_write
from gcdflow.files.declared import GRID
from gcdflow.files.formats import UNLABELLED, Features, PseudoLabels, align
from gcdflow.progress import Progress
from gcdflow.ssddbc import SSDDBCGridSearch, core_neighbours, estimate_resources
from gcdflow.wording import counted, duration

log = logging.getLogger(__name__)

N_NEIGHBOURS = 10  # that pseudo labels list for each sample
LEAST_RECALL = 0.98


def cluster_features(
    features: Features,
    grid: ClusteringSettings,
    *,
    threads: int,
    device: str = "cpu",
    previous: PseudoLabels | None = None,
) -> tuple[PseudoLabels, dict[str, np.ndarray]]:
    """Cluster the training split of a feature cache.

    Parameters
    ----------
    features : Features
        Test samples (``~train_mask``) are left out.
    grid : ClusteringSettings
    threads : int
    device : str
        Where points are compared with all others, as of :class:`SSDDBCGridSearch`.
    previous : PseudoLabels or None
        Pseudo labels of the refresh before, to compare with.

    Returns
    -------
    pseudo : PseudoLabels
    results : dict of arrays, one entry per configuration of the grid

    Raises
    ------
    InputError
        If there are too few samples, or ``previous`` is of other samples.
    """
    train = features.train_mask
    # A copy of millions of features only if some are left out.
    X = features.features if train.all() else features.features[train]
    y = features.labels[train]
    if len(X) < 2:
        raise InputError(f"found {len(X)} training samples to cluster, expected at least 2")
    before = None if previous is None else _in_order(previous, features.indices[train])
    progress = Progress(grid.n_configurations())

    def report(done: int, total: int) -> None:
        if progress.is_due(done):
            log.info("%d/%d configurations, %s", done, total, progress.left(done))

    _predict_cost(X, y, grid, threads, device)
    search = _grid_search(grid, threads, device=device, progress=report)
    search.fit(X, y)
    if search.recall_ is not None:
        _report_recall(search.recall_)
    k, percentile = (search.best_params_[name] for name in ("k", "density_percentile"))
    best = {"k": k, "percentile": percentile}
    # Who sets no range of a grid need not know of it.
    usual = ClusteringSettings()
    own = {name for name in best if getattr(grid, name) != getattr(usual, name)}
    values = {name: parse_range(getattr(grid, name)) for name in own}
    for sentence in edges_of_grid({name: best[name] for name in own}, values, len(X)):
        log.info("%s; a wider range may give better clusters", sentence)
    clusters = _clusters(search, y, grid)
    nearest = core_neighbours(
        X,
        search.core_sample_mask_,
        clusters,
        y,
        n_neighbors=N_NEIGHBOURS,
        normalize=grid.normalize,
        neighbours=search.neighbours_,
        device=device,
        n_jobs=threads,
    )
    return _pseudo_labels(features, grid, search, clusters, nearest, before), search.results_


def _in_order(previous: PseudoLabels, indices: np.ndarray) -> np.ndarray:
    """The clusters of the refresh before (n,), in the order of sample ids; InputError if others."""
    order = align("previous pseudo labels", previous.indices, indices)
    align("the features, compared with the previous pseudo labels", indices, previous.indices)
    return previous.labels[order]


def _clusters(search: SSDDBCGridSearch, y: np.ndarray, grid: ClusteringSettings) -> np.ndarray:
    """Clusters int64 (n,) of a search that is done, merged if the grid says so."""
    if not grid.merge_by_class:
        return search.labels_
    clusters = merged_by_class(search.labels_, y)
    before, after = search.n_clusters_, len(np.unique(clusters))
    if after < before:
        log.info(
            "%s, %d after those of one old class are merged", counted(before, "cluster"), after
        )
    return clusters


def _grid_search(grid: ClusteringSettings, threads: int | None, **options: Any) -> SSDDBCGridSearch:
    """The search over a grid."""
    return SSDDBCGridSearch(
        k=parse_range(grid.k),
        density_percentile=parse_range(grid.percentile),
        w_ce=grid.w_ce,
        w_sil=grid.w_sil,
        w_mod=grid.w_mod,
        normalize=grid.normalize,
        neighbours=grid.neighbours,
        n_jobs=threads,
        **options,
    )


def n_clusters_over_label_draws(
    features: Features, grid: ClusteringSettings, draws: int, *, threads: int | None = None
) -> list[int]:
    """Number of clusters, merged if the grid says so, with each of several draws of the labels.

    A draw is a bootstrap: as many labelled samples as there are, drawn with replacement. Those that
    are not drawn, some 37 %, count as unlabelled.

    Parameters
    ----------
    features : Features
        Test samples (``~train_mask``) are left out.
    """
    X, y = features.features[features.train_mask], features.labels[features.train_mask]
    labelled = np.flatnonzero(y != UNLABELLED)

    def n_clusters(labels: np.ndarray) -> int:
        search = _grid_search(grid, threads).fit(X, labels)
        return len(np.unique(_clusters(search, labels, grid)))

    if len(labelled) == 0:  # all draws are the same
        return [n_clusters(y)] * draws
    found = []
    for draw in range(draws):
        drawn = np.random.default_rng(draw).choice(labelled, len(labelled))
        labels = np.full_like(y, UNLABELLED)
        labels[drawn] = y[drawn]
        found.append(n_clusters(labels))
        log.info("draw %d of %d: %s", draw + 1, draws, counted(found[-1], "cluster"))
    return found


def _pseudo_labels(
    features: Features,
    grid: ClusteringSettings,
    search: SSDDBCGridSearch,
    clusters: np.ndarray,
    neighbours: np.ndarray,
    before: np.ndarray | None,
) -> PseudoLabels:
    """The best clustering of a search that is done, with its provenance."""
    indices = features.indices[features.train_mask]
    n = len(indices)
    best = search.best_index_
    n_clusters = len(np.unique(clusters))
    if n_clusters == 1:
        log.warning(
            "all %d samples are in one cluster, in the best of %d configurations (and in %d of "
            "them); the features may have collapsed, or the grid does not suit them",
            n,
            len(search.results_["n_clusters"]),
            int((search.results_["n_clusters"] == 1).sum()),
        )
    metadata = {
        **features.metadata,
        "score": float(search.best_score_),
        "cross_entropy": float(search.results_["cross_entropy"][best]),
        "silhouette": float(search.results_["silhouette"][best]),
        "modularity": float(search.results_["modularity"][best]),
        "n_clusters": n_clusters,
        "n_samples": n,
        "core_ratio": float(search.core_sample_mask_.mean()),
        **_comparisons(clusters, features.labels[features.train_mask], before),
        "normalize": search.normalize,
        "w_ce": search.w_ce,
        "w_sil": search.w_sil,
        "w_mod": search.w_mod,
        "version": __version__,
        **_found_by(search),
        **({"n_unmerged": int(search.n_clusters_)} if grid.merge_by_class else {}),
    }
    return PseudoLabels(
        indices=indices,
        labels=clusters.astype(np.int64),
        core_mask=search.core_sample_mask_,
        densities=search.densities_.astype(np.float32),
        neighbours=neighbours,
        best_params=search.best_params_,
        metadata=metadata,
    )


def _comparisons(
    clusters: np.ndarray, labels: np.ndarray, before: np.ndarray | None
) -> dict[str, float | None]:
    """Compare a clustering with the one before and with the labels; warn if it is against these."""
    labelled = int((labels != UNLABELLED).sum())
    against = count_against_labels(clusters, labels)
    change = agreement = against_before = None
    if before is not None:
        change = label_change_rate(clusters, before)
        agreement = float(adjusted_rand_score(before, clusters))
        against_before = count_against_labels(before, labels)
    for sentence in guidance_warnings(against, labelled, against_before):
        log.warning("%s", sentence)
    return {
        "label_change_rate": change,
        "agreement": agreement,
        "against_labels": against / labelled if labelled else None,
    }


def _found_by(search: SSDDBCGridSearch) -> dict[str, str | float]:
    """How neighbours were found; nothing if they are exact, so that such files keep their bytes."""
    if search.recall_ is None:
        return {}
    return {"neighbours": search.neighbours_, "recall": search.recall_}


def _report_recall(recall: float) -> None:
    """Log how many of the exact neighbours were found; a warning if they are too few."""
    log.info("approximate neighbours: %.2f%% of the exact ones were found", 100 * recall)
    if recall < LEAST_RECALL:
        log.warning(
            "only %.1f%% of the exact neighbours were found, expected at least %.0f%%; clusters "
            "may differ from those of exact neighbours (clustering: {neighbours: exact})",
            100 * recall,
            100 * LEAST_RECALL,
        )


def _predict_cost(
    X: np.ndarray, y: np.ndarray, grid: ClusteringSettings, threads: int, device: str
) -> None:
    """Say what the search takes; refuse what does not fit into memory."""
    n, d = X.shape
    cost = estimate_resources(n, d, n_jobs=threads, **grid.work())
    available = available_memory()
    labelled = int((y >= 0).sum())  # said, so that labels under another name are missed
    needed = (
        f"{counted(n, 'sample')} of {d} dimensions, {labelled} of them labelled, need about"
        f" {cost.memory_bytes / 2**30:.1f} GiB"
    )
    if cost.memory_bytes > available:
        raise InputError(
            f"{needed} of memory, but {available / 2**30:.1f} GiB are free; cluster fewer samples, "
            "fewer configurations, or on a larger machine"
        )
    seconds = duration(cost.seconds)
    time = seconds if device == "cpu" else f"less than {seconds} (a GPU is used)"
    with_threads = f"with {counted(threads, 'thread')} and {cost.neighbours} neighbours"
    log.info("%s and %s %s", needed, time, with_threads)
    if device != "cpu" and cost.neighbours == "approximate":
        log.warning(
            "processors search for approximate neighbours, so the GPU has little to do; with "
            "neighbours: exact it would compare all points"
        )


def write_grid_table(path: Path, results: dict[str, np.ndarray]) -> None:
    """Write one row per configuration, tab-separated.

    Scores are exact, so that the highest of the table is the one that the search chose.
    """
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(GRID.columns())
        columns = [_written(results[name], exact=name == "score") for name in GRID.columns()]
        writer.writerows(zip(*columns, strict=True))


def _written(column: np.ndarray, exact: bool) -> list:
    """The values of a column as a table has them."""
    values = column.tolist()
    return values if exact else [f"{v:.6g}" if isinstance(v, float) else v for v in values]


def pseudo_label_scalars(pseudo: PseudoLabels) -> dict[str, float | None]:
    """What TensorBoard shows of a clustering (docs/contract.md, section 6)."""
    return {
        "pseudo/n_clusters": pseudo.metadata["n_clusters"],
        "pseudo/core_ratio": pseudo.metadata["core_ratio"],
        "pseudo/label_change_rate": pseudo.metadata["label_change_rate"],
        "pseudo/agreement": pseudo.metadata["agreement"],
        "pseudo/against_labels": pseudo.metadata["against_labels"],
        "pseudo/k": pseudo.best_params["k"],
        "pseudo/density_percentile": pseudo.best_params["density_percentile"],
        "pseudo/score": pseudo.metadata["score"],
    }

"""SSDDBC step by step as defined, one configuration at a time.

This is the reference of the tests and of the benchmark: a literal implementation of
docs/contract.md, section 3, in float64 NumPy, with one function per step. It shares no code with
the package, stores all distances, and uses no shortcuts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.spatial.distance import cdist


@dataclass
class Result:
    """All results of one configuration; labels are -1 outside the core until step 6."""

    labels: np.ndarray
    core_mask: np.ndarray
    n_clusters: int
    densities: np.ndarray
    relative_densities: np.ndarray
    core_threshold: float
    cutoff: float
    backbone_labels: np.ndarray
    core_labels: np.ndarray
    events: dict = field(default_factory=dict)
    n_backbone_clusters: int = 0
    n_isolated_clusters: int = 0
    n_isolated_label_match: int = 0
    cross_entropy: float = 0.0
    silhouette: float = 0.0
    score: float = 0.0
    dist: np.ndarray | None = field(default=None, repr=False)

    @property
    def modularity(self) -> float:
        """Modularity of the clusters, which takes as long as all the rest."""
        return modularity(self.dist, self.labels)


def normalise(features: np.ndarray) -> np.ndarray:
    """Rows of length one in float64; rows of zeros stay zero."""
    rows = np.asarray(features, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms == 0, 1.0, norms)


def distances(rows: np.ndarray) -> np.ndarray:
    """Euclidean distances between all pairs of rows, (n, n) float64."""
    rows = np.asarray(rows, dtype=np.float64)
    return cdist(rows, rows)


def nearest(dist: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k nearest neighbours of each point, (n, k); ties go to the lower index."""
    others = dist.copy()
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, :k]


def pairs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What all configurations share: distances (n, n), and the others of each point by distance."""
    dist = distances(rows)
    return dist, nearest(dist, len(dist) - 1)


def density(neighbour_dist: np.ndarray, neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Step 1: densities and relative densities, (n,) each."""
    k = neighbours.shape[1]
    rho = 1.0 / (np.median(neighbour_dist, axis=1) + 1e-8)
    relative = rho * (k + rho.mean()) / (k + rho[neighbours].mean(axis=1))
    return rho, relative


def backbone_graph(dist: np.ndarray, core: np.ndarray, k: int, cutoff: float) -> list[np.ndarray]:
    """Step 3: the core points that each point has edges to, nearest first."""
    members = np.flatnonzero(core)
    edges = [np.empty(0, dtype=np.int64)] * len(core)
    k = min(k, len(members) - 1)
    if k < 1:
        return edges
    within = dist[np.ix_(members, members)]
    chosen = nearest(within, k)
    for row, i in enumerate(members):
        kept = chosen[row][within[row, chosen[row]] <= cutoff]
        edges[i] = members[kept]
    return edges


def category(members: set[int], y: np.ndarray) -> int | None:
    """The label that a cluster represents, or None."""
    labelled = [y[i] for i in members if y[i] >= 0]
    if len(members) < 5 or not len(labelled) > 0.25 * len(members):
        return None
    labels, counts = np.unique(labelled, return_counts=True)
    top = counts.argmax()
    return int(labels[top]) if 5 * counts[top] >= 4 * len(labelled) else None


def grow(
    edges: list[np.ndarray], rho: np.ndarray, core: np.ndarray, y: np.ndarray
) -> tuple[dict[int, set[int]], dict[str, int]]:
    """Step 4: the members of each cluster by its id (the order of opening), and event counts."""
    clusters: dict[int, set[int]] = {}
    cluster_of = np.full(len(core), -1)
    events = dict.fromkeys(("sample_skip", "merge", "move", "reject", "edges_visited"), 0)
    seeds = [i for i in np.argsort(-rho, kind="stable") if core[i]]
    for opened, seed in enumerate(seeds):
        if cluster_of[seed] >= 0:
            continue
        here = opened
        clusters[here] = {seed}
        cluster_of[seed] = here
        queue = deque([seed])
        while queue:
            i = queue.popleft()
            for j in edges[i]:
                events["edges_visited"] += 1
                there = cluster_of[j]
                if y[i] >= 0 and y[j] >= 0 and y[i] != y[j]:
                    events["sample_skip"] += 1
                elif there < 0:
                    clusters[here].add(j)
                    cluster_of[j] = here
                    queue.append(j)
                elif there != here:
                    s, t = category(clusters[here], y), category(clusters[there], y)
                    if s is not None and t is not None and s != t:
                        if rho[i] > rho[j]:
                            events["move"] += 1
                            clusters[there].remove(j)
                            if not clusters[there]:
                                del clusters[there]
                            clusters[here].add(j)
                            cluster_of[j] = here
                            queue.append(j)
                        else:
                            events["reject"] += 1
                    else:
                        events["merge"] += 1
                        joining = sorted(clusters.pop(there))
                        clusters[here].update(joining)
                        cluster_of[joining] = here
                        queue.extend(joining)
    return clusters, events


def mean_of_nearest(dist: np.ndarray) -> float:
    """Mean of the three smallest distances (of all, if there are fewer)."""
    return float(np.sort(dist)[:3].mean())


def join_isolated(
    clusters: dict[int, set[int]], rows: np.ndarray, y: np.ndarray
) -> tuple[dict[int, set[int]], int, int]:
    """Step 5: join isolated clusters to larger ones.

    Returns the clusters, the number of isolated clusters, and how many joined by their label.
    """
    rows = np.asarray(rows, dtype=np.float64)
    order = sorted(clusters)
    isolated = [c for c in order if len(clusters[c]) <= 3]
    larger = [c for c in order if len(clusters[c]) > 3]
    if not larger:
        return clusters, len(isolated), 0
    members = {c: sorted(clusters[c]) for c in larger}
    labels = {c: {int(y[i]) for i in clusters[c] if y[i] >= 0} for c in order}
    result = {c: set(clusters[c]) for c in larger}
    everyone = np.concatenate([members[c] for c in larger])
    bounds = np.cumsum([0, *(len(members[c]) for c in larger)])
    n_matched = 0
    for c in isolated:
        same = [q for q in larger if len(labels[c]) == 1 and labels[q] == labels[c]]
        if same:
            n_matched += 1
            target = same[0]
        else:
            centroid = rows[sorted(clusters[c])].mean(axis=0)
            dist = cdist(centroid[None], rows[everyone])[0]
            means = [mean_of_nearest(dist[a:b]) for a, b in pairwise(bounds)]
            target = larger[int(np.argmin(means))]
        result[target] |= clusters[c]
    return result, len(isolated), n_matched


def assign_sparse(dist: np.ndarray, core_labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Step 6: labels of all points, given those of the core (-1 elsewhere)."""
    labels = core_labels.copy()
    sparse = np.flatnonzero(core_labels < 0)
    means = np.empty((len(sparse), n_clusters))
    for c in range(n_clusters):
        to_members = np.sort(dist[np.ix_(sparse, np.flatnonzero(core_labels == c))], axis=1)
        means[:, c] = to_members[:, :3].mean(axis=1)
    labels[sparse] = np.argmin(means, axis=1)
    return labels


def cross_entropy(labels: np.ndarray, y: np.ndarray) -> float:
    """Mean of -log(share of the point's class among its cluster's labels) over labelled points."""
    labelled = np.flatnonzero(y >= 0)
    if len(labelled) == 0:
        return 0.0
    terms = []
    for i in labelled:
        peers = labelled[labels[labelled] == labels[i]]
        share = np.mean(y[peers] == y[i])
        terms.append(-np.log(share + 1e-10))
    return float(np.mean(terms))


def silhouette(dist: np.ndarray, labels: np.ndarray, y: np.ndarray) -> float:
    """Mean silhouette of the unlabelled points; a point that is alone in its cluster has 0."""
    n_clusters = labels.max() + 1
    unlabelled = np.flatnonzero(y < 0)
    if n_clusters < 2 or len(unlabelled) == 0:
        return 0.0
    member = labels[:, None] == np.arange(n_clusters)
    sizes = member.sum(axis=0)
    sums = dist[unlabelled] @ member.astype(np.float64)
    own = labels[unlabelled]
    rows = np.arange(len(unlabelled))
    a = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    to_others = sums / sizes
    to_others[rows, own] = np.inf
    b = to_others.min(axis=1)
    larger = np.maximum(a, b)
    value = np.where((sizes[own] > 1) & (larger > 0), (b - a) / np.where(larger > 0, larger, 1), 0)
    return float(value.mean())


def modularity(dist: np.ndarray, labels: np.ndarray) -> float:
    """Modularity in the graph of the 10 nearest neighbours, with resolution 2."""
    n = len(labels)
    weights = np.zeros((n, n))
    for i, neighbours in enumerate(nearest(dist, min(10, n - 1))):
        for j in neighbours:
            weights[i, j] += 0.5
            weights[j, i] += 0.5
    ends, total = weights.sum(axis=1), weights.sum()
    same = labels[:, None] == labels[None, :]
    return float(((weights - 2 * np.outer(ends, ends) / total) * same).sum() / total)


def label_array(clusters: dict[int, set[int]], n: int) -> np.ndarray:
    """Consecutive labels in order of opening, -1 for points without a cluster."""
    labels = np.full(n, -1, dtype=np.int64)
    for new, old in enumerate(sorted(clusters)):
        labels[list(clusters[old])] = new
    return labels


def fit_configuration(
    rows: np.ndarray,
    y: np.ndarray | None,
    k: int,
    percentile: float,
    *,
    w_ce: float = 1.0,
    w_sil: float = 3.0,
    known: tuple[np.ndarray, np.ndarray] | None = None,
) -> Result:
    """One configuration from start to end; ``rows`` are not normalised.

    Several configurations of the same rows may share ``known``, the result of :func:`pairs`.
    """
    rows = np.asarray(rows, dtype=np.float64)
    n = len(rows)
    y = np.full(n, -1) if y is None else np.asarray(y)
    k = min(k, n - 1)
    dist, others = known or pairs(rows)
    neighbours = others[:, :k]
    neighbour_dist = np.take_along_axis(dist, neighbours, axis=1)
    rho, relative = density(neighbour_dist, neighbours)
    threshold = np.percentile(relative, percentile)
    core = relative >= threshold
    cutoff = neighbour_dist.mean()
    edges = backbone_graph(dist, core, k, cutoff)
    backbone, events = grow(edges, rho, core, y)
    joined, n_isolated, n_matched = join_isolated(backbone, rows, y)
    core_labels = label_array(joined, n)
    labels = assign_sparse(dist, core_labels, len(joined))
    ce = cross_entropy(labels, y)
    sil = silhouette(dist, labels, y)
    return Result(
        labels=labels,
        core_mask=core,
        n_clusters=len(joined),
        densities=rho,
        relative_densities=relative,
        core_threshold=float(threshold),
        cutoff=float(cutoff),
        backbone_labels=label_array(backbone, n),
        core_labels=core_labels,
        events=events,
        n_backbone_clusters=len(backbone),
        n_isolated_clusters=n_isolated,
        n_isolated_label_match=n_matched,
        cross_entropy=ce,
        silhouette=sil,
        score=-w_ce * ce + w_sil * sil,
        dist=dist,
    )

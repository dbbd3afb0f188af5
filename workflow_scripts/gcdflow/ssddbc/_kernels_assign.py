"""Compiled kernel for the cluster with the nearest members (steps 5 and 6)."""

from __future__ import annotations

import numpy as np

from gcdflow.ssddbc._compiled import compiled

NEAREST = 3  # members of a cluster that count for its distance


@compiled
def _mean(first, second, third, count):
    if count == 1:
        return first
    if count == 2:
        return (first + second) / 2.0
    return (first + second + third) / 3.0


@compiled
def _loses(mean, best, winner):
    """Whether a cluster with at least this mean cannot win; cluster 0 wins every tie."""
    return mean > best or (winner == 0 and mean == best)


@compiled
def _is_settled(distance, best, winner, touched, n_touched, seen, needed, near):
    """Whether no other cluster can win if all remaining members are at ``distance`` or farther."""
    if not _loses(distance, best, winner):
        return False
    if not _loses((distance + distance + distance) / 3.0, best, winner):
        return False
    for t in range(n_touched):
        q = touched[t]
        if seen[q] < needed[q]:
            second = near[q, 1] if seen[q] > 1 else distance
            if not _loses(_mean(near[q, 0], second, distance, needed[q]), best, winner):
                return False
    return True


@compiled
def nearest_cluster(
    ids,
    dist,
    valid,
    radius,
    positions,
    own,
    clusters,
    copies,
    following,
    needed,
    found,
    means,
):
    """Cluster with the smallest mean distance to its nearest members, ties to the lower cluster.

    The kernel reads each sorted list only until no other cluster can win. It adds distances in the
    order of the definition, so equal means are equal in every bit.

    Parameters
    ----------
    ids, dist, valid, radius : neighbour lists, see :class:`gcdflow.ssddbc._lists.Lists`.
    positions, own : (q,) int64, the lists to read, and the row of each query, -1 if it has none.
    clusters, copies, following : which rows are members of which clusters, see
        :class:`gcdflow.ssddbc._samples.Membership`.
    needed : (c,) int64, number of members that count for each cluster: min(3, its size).
    found, means : (q,) int32 and (q,) float64, outputs; found is -1 if the list is too short.
    """
    n_clusters = needed.shape[0]
    seen = np.zeros(n_clusters, np.int64)
    near = np.zeros((n_clusters, 2))
    touched = np.empty(n_clusters, np.int64)
    for p in range(positions.shape[0]):
        r = positions[p]
        best, winner, n_touched, settled = np.inf, np.int64(-1), np.int64(0), False
        for c in range(-1 if own[p] >= 0 else 0, valid[r]):  # -1: the query's own row
            entry, d = (np.int64(ids[r, c]), dist[r, c]) if c >= 0 else (own[p], 0.0)
            if clusters[entry] < 0:
                continue
            if d >= best and _is_settled(d, best, winner, touched, n_touched, seen, needed, near):
                settled = True
                break
            while entry >= 0:
                q = clusters[entry]
                for _ in range(min(np.int64(copies[entry]), needed[q] - seen[q])):
                    if seen[q] == 0:
                        touched[n_touched] = q
                        n_touched += 1
                    if seen[q] < NEAREST - 1:
                        near[q, seen[q]] = d
                    seen[q] += 1
                    if seen[q] == needed[q]:
                        mean = _mean(near[q, 0], near[q, 1], d, needed[q])
                        if mean < best or (mean == best and q < winner):
                            best, winner = mean, np.int64(q)
                entry = np.int64(following[entry])
        if not settled:
            settled = winner >= 0 and _is_settled(
                radius[r], best, winner, touched, n_touched, seen, needed, near
            )
        found[p] = winner if settled else -1
        means[p] = best
        for t in range(n_touched):
            seen[touched[t]] = 0

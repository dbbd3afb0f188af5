"""Compiled kernels that turn lists of distinct rows into nearest samples (steps 1 and 3, Mod)."""

from __future__ import annotations

import numpy as np

from gcdflow.ssddbc._compiled import compiled


@compiled
def _insert(row, start, members, distance, near, far, count):
    """Insert the samples of a row at this distance, which is not below those before.

    Equal distances are in the order of the samples; what exceeds the buffer is dropped.
    """
    limit = near.shape[0]
    for s in range(start[row], start[row + 1]):
        sample = members[s]
        if count == limit and (far[limit - 1] < distance or near[limit - 1] < sample):
            break
        at = min(count, limit - 1)
        while at > 0 and far[at - 1] == distance and near[at - 1] > sample:
            near[at], far[at] = near[at - 1], far[at - 1]
            at -= 1
        near[at], far[at] = sample, distance
        count = min(count + 1, limit)
    return count


@compiled
def _gather(row, ids, dist, valid, start, members, local, cutoff, near, far):
    """Fill ``near`` and ``far`` with the nearest samples of a row, from its own ones on.

    Samples with a negative ``local``, and those beyond the cutoff, are left out.

    Returns
    -------
    int, number of samples; bool, whether samples beyond the list cannot change them.
    """
    limit = near.shape[0]
    count = np.int64(0)
    if local[members[start[row]]] >= 0:
        count = _insert(row, start, members, 0.0, near, far, count)
    for c in range(valid):
        if dist[c] > cutoff or (count == limit and dist[c] > far[limit - 1]):
            return count, True
        other = np.int64(ids[c])
        if local[members[start[other]]] >= 0:
            count = _insert(other, start, members, dist[c], near, far, count)
    return count, count == limit


@compiled
def neighbours_within(
    ids,
    dist,
    valid,
    radius,
    positions,
    rows,
    start,
    members,
    local,
    place,
    cutoff,
    near,
    far,
    counts,
):
    """The nearest samples of a subset, for each sample of some rows, without itself.

    Parameters
    ----------
    ids, dist, valid, radius : neighbour lists, see :class:`gcdflow.ssddbc._lists.Lists`.
    positions, rows : (r,) int64, the lists to read, and the row of each.
    start, members : see :class:`gcdflow.ssddbc._samples.Samples`.
    local : (n,) int32, the number of each sample of the subset, -1 outside; equal rows agree.
    place : (n,) int32, row of the outputs for each sample.
    cutoff : no neighbour is farther than this.
    near, counts : (m, k) int32 and (m,) int32, outputs: numbers of at most k neighbours, nearest
        first; the count is -1 if the list is too short.
    far : (m, k) float64, output: their distances; (0, 0) if they are not wanted.
    """
    k = near.shape[1]
    samples, distances = np.empty(k + 1, np.int64), np.empty(k + 1)
    for a in range(positions.shape[0]):
        r, row = positions[a], rows[a]
        found, ended = _gather(
            row, ids[r], dist[r], valid[r], start, members, local, cutoff, samples, distances
        )
        known = ended or radius[r] > cutoff
        for s in range(start[row], start[row + 1]):
            target, count = place[members[s]], 0
            for c in range(found):
                if samples[c] != members[s] and count < k:
                    near[target, count] = local[samples[c]]
                    if far.shape[0] > 0:
                        far[target, count] = distances[c]
                    count += 1
            counts[target] = count if known else -1


@compiled
def count_links(labels, links, ends):
    """Number of links within clusters.

    Parameters
    ----------
    labels : (n,) int32, clusters from 0. links : (n, k) int32.
    ends : (clusters,) int64, the ends of links in each cluster are added to it.
    """
    within = 0
    for i in range(links.shape[0]):
        ends[labels[i]] += links.shape[1]
        for j in range(links.shape[1]):
            other = labels[links[i, j]]
            ends[other] += 1
            within += other == labels[i]
    return within

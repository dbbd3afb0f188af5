"""Compiled kernels for the growth of clusters in the backbone graph (step 4).

When a cluster is merged, the definition examines all of its members again. Only members with an
edge into another cluster matter: the sources of rejected edges, or, once a member has moved to
another cluster, any member. The edges of all other members lead into their own cluster or are
forbidden by labels. The queue leaves these members out. The result is the same, and a merge costs
only the number of open edges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gcdflow.ssddbc._compiled import compiled


class State(NamedTuple):
    """State of step 4, in few integer tables because each table adds to compile times.

    Attributes
    ----------
    clusters : (m, 6) int64, one row per cluster in order of opening; columns PARENT … DIRTY.
        Merged clusters form a forest by their PARENT. LABELS and OPEN are the heads of linked
        lists: labels of members, and sources of rejected edges; -1 ends a list. DIRTY is 1 once a
        member has moved to another cluster.
    nodes : (labels + 1, 3) int64, the lists of labels; columns NEXT, LABEL, COUNT. Row 0 is the
        head of the list of unused nodes.
    next_open : (m,) int64, the lists of sources.
    """

    clusters: np.ndarray
    nodes: np.ndarray
    next_open: np.ndarray


PARENT, SIZE, LABELLED, LABELS, OPEN, DIRTY = range(6)
NEXT, LABEL, COUNT = range(3)


def empty_state(m: int, n_labelled: int) -> State:
    """The state without clusters, for m points with ``n_labelled`` labelled ones."""
    clusters = np.zeros((m, 6), dtype=np.int64)
    clusters[:, PARENT] = np.arange(m)
    clusters[:, LABELS] = clusters[:, OPEN] = -1
    nodes = np.zeros((n_labelled + 2, 3), dtype=np.int64)
    nodes[:, NEXT] = np.arange(1, n_labelled + 3)
    return State(clusters, nodes, np.full(m, -1))


@compiled
def _find(clusters, c):
    while clusters[c, PARENT] != c:
        clusters[c, PARENT] = clusters[clusters[c, PARENT], PARENT]
        c = clusters[c, PARENT]
    return c


@compiled
def _release(nodes, node):
    nodes[node, NEXT] = nodes[0, NEXT]
    nodes[0, NEXT] = node


@compiled
def _count_members(clusters, nodes, cluster, label, amount):
    """Add ``amount`` (which may be negative) to the number of members with this label."""
    clusters[cluster, LABELLED] += amount
    previous, node = -1, clusters[cluster, LABELS]
    while node >= 0 and nodes[node, LABEL] != label:
        previous, node = node, nodes[node, NEXT]
    if node < 0:
        previous, node = -1, nodes[0, NEXT]
        nodes[0, NEXT] = nodes[node, NEXT]
        nodes[node, NEXT] = clusters[cluster, LABELS]
        nodes[node, LABEL], nodes[node, COUNT] = label, 0
        clusters[cluster, LABELS] = node
    nodes[node, COUNT] += amount
    if nodes[node, COUNT] == 0:
        if previous < 0:
            clusters[cluster, LABELS] = nodes[node, NEXT]
        else:
            nodes[previous, NEXT] = nodes[node, NEXT]
        _release(nodes, node)


@compiled
def _category(clusters, nodes, cluster):
    """The label that the cluster represents, or -1."""
    labelled = clusters[cluster, LABELLED]
    if clusters[cluster, SIZE] < 5 or 4 * labelled <= clusters[cluster, SIZE]:
        return -1
    node = clusters[cluster, LABELS]
    while node >= 0:
        if 5 * nodes[node, COUNT] >= 4 * labelled:
            return nodes[node, LABEL]
        node = nodes[node, NEXT]
    return -1


@compiled
def _resize(clusters, nodes, cluster, amount, label):
    """Add (amount 1) or remove (amount -1) a member with this label (-1 = none)."""
    clusters[cluster, SIZE] += amount
    if label >= 0:
        _count_members(clusters, nodes, cluster, label, amount)


@compiled
def _enqueue_merged(state, labels, cluster, queue, end):
    """Enqueue the members of a merged cluster that matter, lowest index first."""
    start = end
    if state.clusters[cluster, DIRTY]:
        for point in range(labels.shape[0]):
            if labels[point] >= 0 and _find(state.clusters, np.int64(labels[point])) == cluster:
                queue[end] = point
                end += 1
        return end
    point = state.clusters[cluster, OPEN]
    while point >= 0:
        queue[end] = point
        end += 1
        point = state.next_open[point]
    _sort(queue, start, end)
    return end


@compiled
def _sort(values, start, end):
    """Shell sort of a part; NumPy's sort would take longer to compile than all other kernels."""
    gap = 1
    while gap < (end - start) // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(start + gap, end):
            value, j = values[i], i
            while j - gap >= start and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value
        gap //= 3


@compiled
def _merge(clusters, nodes, cluster, into):
    clusters[cluster, PARENT] = into
    clusters[into, SIZE] += clusters[cluster, SIZE]
    node = clusters[cluster, LABELS]
    while node >= 0:
        label, amount, after = nodes[node, LABEL], nodes[node, COUNT], nodes[node, NEXT]
        _release(nodes, node)
        _count_members(clusters, nodes, into, label, amount)
        node = after


@compiled
def grow_clusters(edges, counts, rho, seeds, y, state, labels):
    """Step 4; all indices are positions within the core.

    Parameters
    ----------
    edges, counts : (m, k) int32 and (m,) int32, targets nearest first.
    rho : (m,) float64 densities.
    seeds : (m,) int64, in order of decreasing density.
    y : (m,) int64, -1 = unlabelled.
    state : from :func:`empty_state`.
    labels : (m,) int32, output; -1 at first, then consecutive labels in order of opening.

    Returns
    -------
    int : number of clusters.
    """
    clusters, nodes = state.clusters, state.nodes
    queue = np.empty(seeds.shape[0], np.int64)
    # Typed constants: with literals, Numba would compile each called function again.
    none, one, here = np.int64(0), np.int64(1), np.int64(-1)
    for s in range(seeds.shape[0]):
        if labels[seeds[s]] >= 0:
            continue
        here += one
        queue[0] = seeds[s]
        labels[seeds[s]] = here
        _resize(clusters, nodes, here, one, y[seeds[s]])
        begin, end = none, one  # a point joins a cluster only once, so the queue cannot overflow
        while begin < end:
            i = queue[begin]
            begin += 1
            rejected = False
            for c in range(counts[i]):
                j = np.int64(edges[i, c])
                if y[i] >= 0 and y[j] >= 0 and y[i] != y[j]:
                    continue
                if labels[j] >= 0:
                    there = _find(clusters, np.int64(labels[j]))
                    if there == here:
                        continue
                    mine, other = (
                        _category(clusters, nodes, here),
                        _category(clusters, nodes, there),
                    )
                    if mine < 0 or other < 0 or mine == other:
                        end = _enqueue_merged(state, labels, there, queue, end)
                        _merge(clusters, nodes, there, here)
                        continue
                    if not rho[i] > rho[j]:
                        rejected = True
                        continue
                    clusters[there, DIRTY] = 1
                    _resize(clusters, nodes, there, -one, y[j])
                labels[j] = here
                _resize(clusters, nodes, here, one, y[j])
                queue[end] = j
                end += 1
            if rejected:
                state.next_open[i] = clusters[here, OPEN]
                clusters[here, OPEN] = i
    return _renumber(clusters, labels, here + 1)


@compiled
def _renumber(clusters, labels, n_opened):
    """Make labels consecutive in order of opening; return their number."""
    new = np.full(n_opened, -1, np.int32)
    for i in range(labels.shape[0]):
        labels[i] = _find(clusters, np.int64(labels[i]))
        new[labels[i]] = 0
    count = 0
    for c in range(n_opened):
        if new[c] == 0:
            new[c] = count
            count += 1
    for i in range(labels.shape[0]):
        labels[i] = new[labels[i]]
    return count

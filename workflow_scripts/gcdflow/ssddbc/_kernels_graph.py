"""Compiled kernels for the backbone graph and the growing of its clusters (steps 3 and 4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy"}


@njit(**OPTIONS)
def backbone_edges(ids, dist, valid, radius, positions, local, k, cutoff, edges, counts):
    """Step 3 for the core points whose lists are at ``positions``.

    Parameters
    ----------
    ids, dist, valid, radius : neighbour lists, see :class:`gcdflow.ssddbc._lists.Lists`.
    positions : (m,) int64, the list of each core point.
    local : (n,) int32, position of each point within the core, -1 outside.
    k, cutoff : at most k edges per point, none longer than the cutoff.
    edges, counts : (m, k) int32 and (m,) int32, filled; the count is -1 where the list is too short
        to tell.
    """
    for a in range(positions.shape[0]):
        r = positions[a]
        count = 0
        known = radius[r] > cutoff
        for c in range(valid[r]):
            if dist[r, c] > cutoff:
                known = True
                break
            j = local[ids[r, c]]
            if j >= 0:
                if count == k:
                    known = True
                    break
                edges[a, count] = j
                count += 1
        counts[a] = count if known or count == k else -1


class Clusters(NamedTuple):
    """State of step 4; a cluster is known by the order of its opening.

    Merged clusters form a forest (``parent``). Members are counted per label in short linked lists
    of nodes (``head``, ``following``, ``node_label``, ``node_count``; ``free[0]`` is the first
    unused node). ``open_head`` and ``open_next`` list the sources of rejected edges per cluster;
    ``dirty`` marks the clusters that lost a member by a move.
    """

    parent: np.ndarray
    size: np.ndarray
    n_labelled: np.ndarray
    head: np.ndarray
    following: np.ndarray
    node_label: np.ndarray
    node_count: np.ndarray
    free: np.ndarray
    open_head: np.ndarray
    open_next: np.ndarray
    dirty: np.ndarray


@njit(**OPTIONS)
def _empty_clusters(m, n_nodes):
    following = np.arange(1, n_nodes + 1)
    following[n_nodes - 1] = -1
    return Clusters(
        np.arange(m),
        np.zeros(m, np.int64),
        np.zeros(m, np.int64),
        np.full(m, -1, np.int64),
        following,
        np.zeros(n_nodes, np.int64),
        np.zeros(n_nodes, np.int64),
        np.zeros(1, np.int64),
        np.full(m, -1, np.int64),
        np.full(m, -1, np.int64),
        np.zeros(m, np.bool_),
    )


@njit(**OPTIONS)
def _find(parent, c):
    while parent[c] != c:
        parent[c] = parent[parent[c]]
        c = parent[c]
    return c


@njit(**OPTIONS)
def _count_members(state, cluster, label, amount):
    """Count ``amount`` more labelled members with this label (fewer, if it is negative)."""
    state.n_labelled[cluster] += amount
    previous, node = -1, state.head[cluster]
    while node >= 0 and state.node_label[node] != label:
        previous, node = node, state.following[node]
    if node < 0:
        previous, node = -1, state.free[0]
        state.free[0] = state.following[node]
        state.node_label[node], state.node_count[node] = label, 0
        state.following[node] = state.head[cluster]
        state.head[cluster] = node
    state.node_count[node] += amount
    if state.node_count[node] == 0:
        if previous < 0:
            state.head[cluster] = state.following[node]
        else:
            state.following[previous] = state.following[node]
        state.following[node] = state.free[0]
        state.free[0] = node


@njit(**OPTIONS)
def _category(state, cluster):
    """The label that the cluster stands for, or -1."""
    if state.size[cluster] < 5 or 4 * state.n_labelled[cluster] <= state.size[cluster]:
        return -1
    node = state.head[cluster]
    while node >= 0:
        if 5 * state.node_count[node] >= 4 * state.n_labelled[cluster]:
            return state.node_label[node]
        node = state.following[node]
    return -1


@njit(**OPTIONS)
def _join(state, labels, cluster, point, label):
    labels[point] = cluster
    state.size[cluster] += 1
    if label >= 0:
        _count_members(state, cluster, label, 1)


@njit(**OPTIONS)
def _leave(state, cluster, label):
    state.dirty[cluster] = True
    state.size[cluster] -= 1
    if label >= 0:
        _count_members(state, cluster, label, -1)


@njit(**OPTIONS)
def _enqueue_merged(state, labels, cluster, queue, end):
    """Enqueue the members of a cluster that can still change something, lowest index first."""
    start = end
    if state.dirty[cluster]:
        for point in range(labels.shape[0]):
            if labels[point] >= 0 and _find(state.parent, labels[point]) == cluster:
                queue[end] = point
                end += 1
        return end
    point = state.open_head[cluster]
    while point >= 0:
        queue[end] = point
        end += 1
        point = state.open_next[point]
    queue[start:end].sort()
    return end


@njit(**OPTIONS)
def _merge(state, cluster, into):
    state.parent[cluster] = into
    state.size[into] += state.size[cluster]
    node = state.head[cluster]
    while node >= 0:
        label, amount = state.node_label[node], state.node_count[node]
        after = state.following[node]
        state.following[node] = state.free[0]
        state.free[0] = node
        _count_members(state, into, label, amount)
        node = after


@njit(**OPTIONS)
def grow_clusters(edges, counts, rho, seeds, y, labels):
    """Step 4; all indices are positions within the core.

    When a cluster is merged, the definition examines all of its members again. Only those matter
    that still have an edge into another cluster: the sources of rejected edges, or any member once
    another one has been moved away. The edges of all others lead into their own cluster or are
    barred by labels for ever, so leaving them out of the queue changes nothing, and swallowing a
    large cluster costs no more than its open ends.

    Parameters
    ----------
    edges, counts : (m, k) int32 and (m,) int32, targets nearest first.
    rho : (m,) float64 densities.
    seeds : (m,) int64, in order of decreasing density.
    y : (m,) int32, -1 = unlabelled.
    labels : (m,) int32, filled with consecutive labels in order of opening.

    Returns
    -------
    int : number of clusters.
    """
    m = seeds.shape[0]
    labels[:] = -1
    state = _empty_clusters(m, 1 + np.sum(y >= 0))
    queue = np.empty(m, np.int64)
    here = -1
    for seed in seeds:
        if labels[seed] >= 0:
            continue
        here += 1
        _join(state, labels, here, seed, y[seed])
        queue[0] = seed
        begin, end = 0, 1  # a point joins this cluster once, so the queue cannot overflow
        while begin < end:
            i = queue[begin]
            begin += 1
            rejected = False
            for j in edges[i, : counts[i]]:
                if y[i] >= 0 and y[j] >= 0 and y[i] != y[j]:
                    continue
                there = _find(state.parent, labels[j]) if labels[j] >= 0 else -1
                if there == here:
                    continue
                if there >= 0:
                    s, t = _category(state, here), _category(state, there)
                    if s < 0 or t < 0 or s == t:
                        end = _enqueue_merged(state, labels, there, queue, end)
                        _merge(state, there, here)
                        continue
                    if not rho[i] > rho[j]:
                        rejected = True
                        continue
                    _leave(state, there, y[j])
                _join(state, labels, here, j, y[j])
                queue[end] = j
                end += 1
            if rejected:
                state.open_next[i] = state.open_head[here]
                state.open_head[here] = i
    return _renumber(state.parent, labels, here + 1)


@njit(**OPTIONS)
def _renumber(parent, labels, n_opened):
    """Consecutive labels in order of opening; returns their number."""
    new = np.full(n_opened, -1, np.int32)
    for i in range(labels.shape[0]):
        labels[i] = _find(parent, labels[i])
        new[labels[i]] = 0
    count = 0
    for c in range(n_opened):
        if new[c] == 0:
            new[c] = count
            count += 1
    for i in range(labels.shape[0]):
        labels[i] = new[labels[i]]
    return count

"""Compiled kernels for neighbour lists: float32 finds the candidates, float64 sorts them."""

from __future__ import annotations

import numpy as np

from gcdflow.ssddbc._compiled import compiled


@compiled
def exact_distances(queries, rows, ids, counts, dist):
    """Fill ``dist[r, c]`` with the distance of query r to ``rows[ids[r, c]]``, c < counts[r].

    All decisions use distances from this kernel. Each is the plain sum of squared differences in
    the order of the features, so it equals SciPy's ``cdist`` in every bit, and rounding breaks ties
    in the same way. Four sums run in parallel because each addition waits for the previous one.

    Parameters
    ----------
    queries, rows : (q, d) and (n, d) float64. ids : (q, m) int32. counts : (q,) int64.
    """
    for r in range(queries.shape[0]):
        last = counts[r] - 1
        for c in range(0, counts[r], 4):
            c1, c2, c3 = min(c + 1, last), min(c + 2, last), min(c + 3, last)
            j0, j1, j2, j3 = ids[r, c], ids[r, c1], ids[r, c2], ids[r, c3]
            sum0 = sum1 = sum2 = sum3 = 0.0
            for t in range(queries.shape[1]):
                value = queries[r, t]
                sum0 += (value - rows[j0, t]) * (value - rows[j0, t])
                sum1 += (value - rows[j1, t]) * (value - rows[j1, t])
                sum2 += (value - rows[j2, t]) * (value - rows[j2, t])
                sum3 += (value - rows[j3, t]) * (value - rows[j3, t])
            dist[r, c], dist[r, c1] = np.sqrt(sum0), np.sqrt(sum1)
            dist[r, c2], dist[r, c3] = np.sqrt(sum2), np.sqrt(sum3)


@compiled
def _smallest_first(keys, ids, count, m):
    """Reorder so that the m smallest of ``keys[:count]`` come first; return the largest of them."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        a, b, c = keys[low], keys[middle], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                ids[i], ids[j] = ids[j], ids[i]
                i += 1
                j -= 1
        if m - 1 <= j:
            high = j
        elif m - 1 >= i:
            low = i
        else:
            break
    largest = keys[0]
    for i in range(1, m):
        largest = max(largest, keys[i])
    return largest


@compiled
def scan_tile(products, squares, first, own, keys, ids, counts, bounds, m):
    """Collect the columns of one tile that may be among the m nearest of each query.

    Parameters
    ----------
    products : (b, t) float32, scalar products of b queries with t columns.
    squares : (t,) float32, squared norms of the columns.
    first : position of the tile's first column among all columns.
    own : (b,) int64, position of the query itself among the columns, or -1.
    keys, ids : (b, capacity) buffers, ``keys`` is squared norm - 2 · product.
    counts, bounds : (b,) number of buffered columns, and upper bound for the keys of new ones.
    """
    capacity = keys.shape[1]
    for r in range(products.shape[0]):
        bound, count = bounds[r], counts[r]
        skip = own[r] - first
        for c in range(products.shape[1]):
            key = squares[c] - np.float32(2.0) * products[r, c]
            if key < bound and c != skip:
                keys[r, count] = key
                ids[r, count] = first + c
                count += 1
                if count == capacity:
                    bound = _smallest_first(keys[r], ids[r], count, m)
                    count = m
        bounds[r], counts[r] = bound, count


@compiled
def _precedes(dist_a, id_a, dist_b, id_b):
    return dist_a < dist_b or (dist_a == dist_b and id_a < id_b)


@compiled
def _sort_pairs(dist, ids, count):
    """Sort by distance, then index (heap sort: no bad worst case, no extra memory)."""
    for start in range(count // 2 - 1, -1, -1):
        _sift(dist, ids, start, count)
    for end in range(count - 1, 0, -1):
        dist[0], dist[end] = dist[end], dist[0]
        ids[0], ids[end] = ids[end], ids[0]
        _sift(dist, ids, np.int64(0), end)


@compiled
def _sift(dist, ids, root, count):
    d, i = dist[root], ids[root]
    while True:
        child = 2 * root + 1
        if child >= count:
            break
        if child + 1 < count and _precedes(
            dist[child], ids[child], dist[child + 1], ids[child + 1]
        ):
            child += 1
        if not _precedes(d, i, dist[child], ids[child]):
            break
        dist[root], ids[root] = dist[child], ids[child]
        root = child
    dist[root], ids[root] = d, i


@compiled
def close_lists(columns, keys, positions, counts, bounds, ids):
    """Keep the m nearest candidates of each query.

    Fills ``ids`` (q, m), ``counts`` and ``bounds``. The bound is the largest key kept; no dropped
    key is smaller. It is infinite if no key was dropped.
    """
    m = ids.shape[1]
    for r in range(ids.shape[0]):
        if counts[r] > m:
            bounds[r] = _smallest_first(keys[r], positions[r], counts[r], m)
            counts[r] = m
        for c in range(counts[r]):
            ids[r, c] = columns[positions[r, c]]


@compiled
def sort_lists(ids, dist, counts, radius, valid):
    """Sort each list by distance and index; count the entries nearer than the radius."""
    for r in range(ids.shape[0]):
        _sort_pairs(dist[r], ids[r], counts[r])
        inside = 0
        while inside < counts[r] and dist[r, inside] < radius[r]:
            inside += 1
        valid[r] = inside

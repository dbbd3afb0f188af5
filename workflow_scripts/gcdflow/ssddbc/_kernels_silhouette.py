"""Compiled kernels for the silhouettes of many labelings in one pass over the distances.

Silhouettes do not depend on the unit of the distances. It is that of ``Points.work``, in which
float32 holds distances between rows of any size.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from gcdflow.ssddbc._compiled import compiled


@partial(compiled, fastmath={"reassoc", "contract", "nsz"})
def _distance(a, b):
    total = 0.0
    for t in range(a.shape[0]):
        difference = a[t] - b[t]
        total += difference * difference
    return np.sqrt(total)


@compiled
def tile_distances(products, column_squares, query_squares, doubt, out):
    """Distances from scalar products; returns the number of doubtful ones.

    Parameters
    ----------
    products : (t, b) float32 or float64, scalar products of t columns with b queries.
    column_squares, query_squares : (t,) and (b,) squared norms, of the same dtype.
    doubt : squared distances below this share of the squared norms have lost too many digits.
    out : (t, b) float32, output.
    """
    share, two, zero = np.float32(doubt), np.float32(2.0), np.float32(0.0)
    doubtful = 0
    for c in range(products.shape[0]):
        square = column_squares[c]
        for b in range(products.shape[1]):
            norms = square + query_squares[b]
            squared = norms - two * products[c, b]
            doubtful += squared < share * norms
            out[c, b] = np.sqrt(max(squared, zero))
    return doubtful


@compiled
def mend_distances(
    products, column_squares, query_squares, doubt, columns, points, rows, scale, out
):
    """Compute the doubtful distances directly; the distance of a point to itself is zero.

    Parameters are those of :func:`tile_distances`; ``columns`` (t,) and ``points`` (b,) are int64
    indices into ``rows``, the exact float64 rows, and ``scale`` is that of the products' rows.
    """
    share, two = np.float32(doubt), np.float32(2.0)
    for c in range(products.shape[0]):
        square = column_squares[c]
        for b in range(products.shape[1]):
            norms = square + query_squares[b]
            if norms - two * products[c, b] < share * norms:
                same = columns[c] == points[b]
                out[c, b] = 0.0 if same else scale * _distance(rows[columns[c]], rows[points[b]])


@compiled
def pair_distances(pairs, columns, points, rows, scale, out):
    """Compute the distances of some pairs directly; the distance of a point to itself is zero.

    Parameters
    ----------
    pairs : (p, 2) int64, places among ``columns`` (t,) and ``points`` (b,), which are int64 indices
        into ``rows``, the exact float64 rows.
    scale : factor by which the distances are multiplied.
    out : (p,) float32, output.
    """
    for p in range(pairs.shape[0]):
        column, point = columns[pairs[p, 0]], points[pairs[p, 1]]
        out[p] = 0.0 if column == point else scale * _distance(rows[column], rows[point])


@compiled
def add_rows(values, weights, piece, sums):
    """``sums[piece[c]] += weights[c] * values[c]``, float32 or float64 into rows of float64."""
    for c in range(values.shape[0]):
        target, weight = piece[c], weights[c]
        for b in range(values.shape[1]):
            sums[target, b] += weight * values[c, b]


@compiled
def silhouettes(sums, sizes, own, weights, out):
    """Silhouettes of b points; returns their weighted sum.

    Parameters
    ----------
    sums : (c, b) float64, sums of distances to the members of each cluster.
    sizes : (c,) float64; own : (b,) int32, cluster of each point; weights : (b,) float64.
    out : (b,) float64, output.
    """
    total = 0.0
    n_clusters, width = sums.shape
    others = np.full(width, np.inf)
    for c in range(n_clusters):
        inverse = 1.0 / sizes[c]
        for b in range(width):
            mean = sums[c, b] * inverse
            if c != own[b] and mean < others[b]:
                others[b] = mean
    for b in range(width):
        out[b] = 0.0
        if sizes[own[b]] > 1:
            inside = sums[own[b], b] / (sizes[own[b]] - 1.0)
            larger = max(inside, others[b])
            if larger > 0:
                out[b] = (others[b] - inside) / larger
        total += weights[b] * out[b]
    return total


@compiled
def rename_by_appearance(labels, renamed):
    """Number the clusters of each labeling (l, n) int32 by their first member."""
    n_labelings, n = labels.shape
    new = np.empty(n, np.int32)
    for row in range(n_labelings):
        new[:] = -1
        count = 0
        for i in range(n):
            old = labels[row, i]
            if new[old] < 0:
                new[old] = count
                count += 1
            renamed[row, i] = new[old]

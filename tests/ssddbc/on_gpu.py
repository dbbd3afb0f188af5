"""What a search on a GPU has to give: the neighbours of the CPU, and its scores to float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gcdflow.ssddbc import _gpu
from gcdflow.ssddbc import _search as search
from gcdflow.ssddbc._gpu import Gpu

KS, PERCENTILES = (3, 8), (40, 70, 90)


def assert_equals_cpu(
    X: np.ndarray, y: np.ndarray, device: str, monkeypatch: pytest.MonkeyPatch
) -> list[bool]:
    """Cluster with the grid above on the CPU and on any device of PyTorch, ``cpu`` as well.

    Returns which exact distances the device has asked for: of whole tiles (True), or of pairs.
    """
    searched: list[int] = []
    asked: list[bool] = []
    nearest, of = Gpu.nearest, _gpu.Silhouettes.of

    def watched_nearest(self, queries, own, m):
        searched.append(len(queries))
        return nearest(self, queries, own, m)

    def watched_of(self, mine, own, exact):
        def watched_exact(tile, pairs):
            asked.append(pairs is None)
            return exact(tile, pairs)

        return of(self, mine, own, watched_exact)

    monkeypatch.setattr(Gpu, "nearest", watched_nearest)
    monkeypatch.setattr(_gpu.Silhouettes, "of", watched_of)
    with search.Workers(2) as workers:
        samples = search.make_samples(X, workers)
        expected = search.cluster_grid(samples, y, KS, PERCENTILES, workers)
        expected_scores = search.score_grid(samples, expected, y, workers)
        assert not searched
        assert not asked
        points = samples.points
        gpu = Gpu.holding(points.work, points.squares, device)
        samples = replace(samples, points=replace(points, gpu=gpu))
        found = search.cluster_grid(samples, y, KS, PERCENTILES, workers)
        scores = search.score_grid(samples, found, y, workers)
    np.testing.assert_array_equal(found.labels, expected.labels)
    for one, other in zip(found.cells, expected.cells, strict=True):
        np.testing.assert_array_equal(one.core, other.core)
        np.testing.assert_array_equal(one.density.rho, other.density.rho)
    np.testing.assert_array_equal(scores.cross_entropy, expected_scores.cross_entropy)
    np.testing.assert_array_equal(scores.modularity, expected_scores.modularity)
    np.testing.assert_allclose(scores.silhouette, expected_scores.silhouette, rtol=0, atol=1e-6)
    assert searched
    assert asked
    return asked

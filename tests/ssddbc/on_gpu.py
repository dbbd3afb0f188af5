"""What a search on a GPU has to give: the neighbours of the CPU, and its scores to float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from gcdflow.ssddbc import _search as search
from gcdflow.ssddbc._gpu import Gpu
from gcdflow.ssddbc._samples import Samples

KS, PERCENTILES = (3, 8), (40, 70, 90)


def on_gpu(samples: Samples, device: str) -> Samples:
    """The samples on any device of PyTorch, ``cpu`` as well."""
    points = samples.points
    gpu = Gpu.holding(points.work, points.squares, device)
    return replace(samples, points=replace(points, gpu=gpu))


def assert_equals_cpu(X: np.ndarray, y: np.ndarray, device: str) -> None:
    """Cluster with the grid above on both."""
    with search.Workers(2) as workers:
        samples = search.make_samples(X, workers)
        expected = search.cluster_grid(samples, y, KS, PERCENTILES, workers)
        expected_scores = search.score_grid(samples, expected, y, workers)
        samples = on_gpu(samples, device)
        found = search.cluster_grid(samples, y, KS, PERCENTILES, workers)
        scores = search.score_grid(samples, found, y, workers)
    np.testing.assert_array_equal(found.labels, expected.labels)
    for one, other in zip(found.cells, expected.cells, strict=True):
        np.testing.assert_array_equal(one.core, other.core)
        np.testing.assert_array_equal(one.density.rho, other.density.rho)
    np.testing.assert_array_equal(scores.cross_entropy, expected_scores.cross_entropy)
    np.testing.assert_allclose(scores.silhouette, expected_scores.silhouette, rtol=0, atol=1e-6)

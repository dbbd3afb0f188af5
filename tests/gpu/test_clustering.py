"""A clustering on a GPU is that of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from gcdflow.ssddbc import _gpu
from ssddbc.on_gpu import assert_equals_cpu
from ssddbc.test_approximate import groups


@pytest.mark.parametrize("tight", [False, True])
def test_a_search_equals_that_of_the_cpu(tight, device, monkeypatch):
    monkeypatch.setattr(_gpu, "COLUMNS_PER_TILE", 1000)
    X, y = groups(6000, d=96)
    X[:500] = X[np.arange(500) % 7]
    if tight:
        X = 1e-4 * X + 100 * (np.arange(len(X)) % 2)[:, None]
    assert any(assert_equals_cpu(X, y, device, monkeypatch)) == tight

"""The memory and time that a search is estimated to need."""

import tracemalloc

import numpy as np
import pytest
from gcdflow.errors import InputError
from gcdflow.ssddbc import SSDDBCGridSearch, estimate_resources


def test_resources_grow_with_the_work():
    small = estimate_resources(2500, 768, n_jobs=2)
    large = estimate_resources(50_000, 768, n_jobs=2)
    assert large.memory_bytes > small.memory_bytes > 50_000 * 8
    assert large.memory_bytes < 50_000 * 768 * 4 + 2 * 2**30
    assert large.seconds > 50 * small.seconds
    assert estimate_resources(50_000, 768, n_jobs=1).seconds > large.seconds
    assert estimate_resources(50_000, 768, 1, n_jobs=2).seconds < large.seconds


def test_resources_of_nothing_are_refused():
    with pytest.raises(InputError, match=r"n_jobs is 0, expected a whole number of at least 1"):
        estimate_resources(100, 8, n_jobs=0)


@pytest.mark.parametrize("neighbours", ["exact", "approximate"])
@pytest.mark.parametrize("ks", [[20], [50], [300], [100, 600]])
def test_memory_is_predicted_for_any_k(ks, neighbours):
    """The arrays of a fit need no more than is predicted, and not much less."""
    n, d, fixed = 3000, 16, estimate_resources(1, 1, 1, neighbours=neighbours).memory_bytes
    X = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    search = SSDDBCGridSearch(ks, [70], neighbours=neighbours)
    search.fit(X[:200])  # compiles
    tracemalloc.start()
    search.fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    predicted = estimate_resources(n, d, len(ks), largest_k=max(ks), neighbours=neighbours)
    assert 0.3 < peak / (predicted.memory_bytes - fixed) < 1


def test_no_more_neighbours_count_than_there_are():
    most = estimate_resources(500, 8, largest_k=499)
    assert estimate_resources(500, 8, largest_k=10_000) == most

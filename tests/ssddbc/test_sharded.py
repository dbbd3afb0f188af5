"""A search in shards has every bit of the whole one, whatever the number of shards."""

import numpy as np
import pytest
from gcdflow.errors import InputError
from gcdflow.ssddbc import SSDDBCGridSearch
from gcdflow.ssddbc.sharded import Shard, ShardedGridSearch, shares_of_grid

from ssddbc import golden

ATTRIBUTES = ("labels_", "core_sample_mask_", "densities_", "n_clusters_")


def in_shards(X, y, n_shards: int, n_scored: int | None = None, **parameters) -> ShardedGridSearch:
    """Every step by an estimator of its own, as in processes of their own; shards out of order."""

    def search() -> ShardedGridSearch:
        return ShardedGridSearch(**parameters)

    near = search().neighbours(X)
    shards = [Shard(i + 1, n_shards) for i in reversed(range(n_shards))]
    clustered = [search().cluster_shard(X, y, near, shard) for shard in shards]
    assert sum(len(part.labels) for part in clustered) == len(search()._used_ks(2))
    assert min(len(part.labels) for part in clustered) > 0
    scorers = [Shard(i + 1, n_scored or n_shards) for i in reversed(range(n_scored or n_shards))]
    scored = [search().score_shard(X, y, clustered, shard) for shard in scorers]
    shape = search().shape_of_sums(y, clustered)
    assert sum(len(part.sums) for part in scored) == shape[0]
    assert {part.sums.shape[1] for part in scored} == {shape[1]}
    return search().gather(X, y, near, clustered, scored)


def assert_equal(one: SSDDBCGridSearch, other: SSDDBCGridSearch) -> None:
    """In every bit, but for the seconds."""
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in ("best_params_", "best_score_", "best_index_"):
        assert getattr(one, name) == getattr(other, name)
    assert one.results_.keys() == other.results_.keys()
    for name in one.results_.keys() - {"seconds"}:
        np.testing.assert_array_equal(one.results_[name], other.results_[name], err_msg=name)
    assert (other.results_["seconds"] >= 0).all()


@pytest.mark.parametrize("name", ["x1", "v1", "digits"])
def test_shards_equal_the_whole_search_in_every_bit(name):
    expected = golden.load(name)
    X, y = expected.features, expected.y
    axes = {"k": [3, 5, 20, 10_000], "density_percentile": [0, 40, 75, 80, 95, 100]}
    axes["k"] = axes["k"] if name == "x1" else [3, 9, 20]
    whole = SSDDBCGridSearch(**axes, normalize=False, n_jobs=2).fit(X, y)
    n_cells = len(whole.results_["score"])
    for n_shards in (1, 2, 3, 7, n_cells):
        assert_equal(whole, in_shards(X, y, n_shards, **axes, normalize=False, n_jobs=1))
    assert_equal(whole, in_shards(X, y, 2, 5, **axes, normalize=False, n_jobs=2))

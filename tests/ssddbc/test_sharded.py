"""A search in shards has every bit of the whole one, whatever the number of shards."""

import numpy as np
import pytest
from gcdflow.errors import InputError
from gcdflow.ssddbc import SSDDBCGridSearch
from gcdflow.ssddbc.sharded import ClusteredShard, Shard, ShardedGridSearch, shares_of_grid

from ssddbc import golden

ATTRIBUTES = ("labels_", "core_sample_mask_", "densities_", "n_clusters_")


def in_shards(X, y, n_shards: int, n_scored: int | None = None, **parameters) -> ShardedGridSearch:
    """Every step by an estimator of its own, as in processes of their own; shards out of order."""

    def search() -> ShardedGridSearch:
        return ShardedGridSearch(**parameters)

    near = search().neighbours(X)
    shards = [Shard(i + 1, n_shards) for i in reversed(range(n_shards))]
    clustered = [search().cluster_shard(X, y, near, shard) for shard in shards]
    assert sum(len(part.labels) for part in clustered) == np.prod(
        [len(axis) for axis in search().axes()]
    )
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


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.ones((12, 3), np.float32), np.arange(12) % 4 - 1),
        (np.ones((2, 3), np.float32), np.array([-1, -1])),
        (np.repeat(np.eye(3), 5, axis=0), np.full(15, -1)),
        (np.repeat(np.eye(3), 5, axis=0), np.arange(15) % 3),  # nothing to take silhouettes of
    ],
)
def test_collapsed_configurations(X, y):
    axes = {"k": [1, 4, 99], "density_percentile": [0, 90, 100]}
    whole = SSDDBCGridSearch(**axes).fit(X, y)
    for n_shards in (1, 4, 9):
        assert_equal(whole, in_shards(X, y, n_shards, **axes))


def test_ties_across_shards_go_to_the_smaller_k_first():
    search = ShardedGridSearch(k=[3, 5], density_percentile=[40, 80], normalize=False)
    assert [share.tolist() for share in shares_of_grid([3, 5], [40, 80], 2)] == [[0, 2], [1, 3]]
    X, good = np.repeat(np.eye(4), 5, axis=0), np.repeat(np.arange(4), 5)
    y, bad = np.full(20, -1), np.arange(20) % 2
    # Places 1 (of shard 2) and 2 (of shard 1) are the same clustering by other numbers.
    clustered = [
        ClusteredShard(Shard(1, 2), np.array([bad, 3 - good], np.int32), np.ones(2)),
        ClusteredShard(Shard(2, 2), np.array([good, bad], np.int32), np.ones(2)),
    ]
    scored = [search.score_shard(X, y, clustered, Shard(1, 1))]
    search.gather(X, y, search.neighbours(X), clustered, scored)
    scores = search.results_["score"]
    assert scores[1] == scores[2] > scores[0] == scores[3]
    assert (search.best_index_, search.best_params_) == (1, {"k": 3, "density_percentile": 80})
    np.testing.assert_array_equal(search.labels_, good)


def test_neighbours_of_a_larger_grid_serve_a_smaller_one():
    expected = golden.load("v1")
    X, y = expected.features, expected.y
    axes = {"k": [4, 7], "density_percentile": [85, 90]}
    whole = SSDDBCGridSearch(**axes, normalize=False).fit(X, y)
    search = ShardedGridSearch(**axes, normalize=False)
    larger = ShardedGridSearch(k=range(3, 21), normalize=False)
    clustered = [search.cluster_shard(X, y, larger.neighbours(X), Shard(1, 1))]
    scored = [search.score_shard(X, y, clustered, Shard(1, 1))]
    assert_equal(whole, search.gather(X, y, larger.neighbours(X), clustered, scored))


# -- the shares ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ks", "percentiles"), [((3, 4, 5), (40, 80, 95)), ((7,), (90,))])
def test_every_configuration_is_in_one_share_and_no_share_is_empty(ks, percentiles):
    n = len(ks) * len(percentiles)
    for shards in range(1, n + 1):
        shares = shares_of_grid(ks, percentiles, shards)
        assert len(shares) == shards
        assert min(map(len, shares)) > 0
        assert sorted(np.concatenate(shares)) == list(range(n))
        assert all((np.diff(share) > 0).all() for share in shares)


@pytest.mark.parametrize("shards", [2, 3, 4, 6, 12, 16])
def test_shares_of_the_default_grid_are_of_like_cost(shards):
    percentiles = np.arange(40, 100, 5)
    costs = [
        np.where(percentiles[share % 12] > 75, 2, 1).sum()
        for share in shares_of_grid(range(3, 21), percentiles, shards)
    ]
    assert sum(costs) == 18 * 16
    assert max(costs) - min(costs) <= 3


def test_shards_keep_percentiles_together():
    for share in shares_of_grid(range(3, 21), range(40, 100, 5), 4):
        assert len(np.unique(share % 12)) <= 5


@pytest.mark.parametrize("shards", [0, 7])
def test_more_shards_than_configurations(shards):
    message = rf"{shards} shards for 6 configurations \(2 k × 3 percentiles\), expected 1 to 6"
    with pytest.raises(InputError, match=message):
        shares_of_grid([3, 4], [40, 50, 60], shards)


@pytest.mark.parametrize(("number", "of"), [(0, 3), (4, 3), (1, 0)])
def test_shards_that_cannot_be(number, of):
    with pytest.raises(InputError, match=f"shard {number} of {of}, expected one from 1 to {of}"):
        Shard(number, of)

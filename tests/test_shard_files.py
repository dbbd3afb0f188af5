"""Files between the steps of a sharded search: what does not fit together is refused."""

from dataclasses import replace

import numpy as np
import pytest
from gcdflow.errors import InputError
from gcdflow.shard_files import ShardFiles
from gcdflow.ssddbc import Shard, ShardedGridSearch

N = 90
GRID = {"k": [3, 5], "density_percentile": [40, 80]}


def files(**changes) -> ShardFiles:
    rng = np.random.default_rng(0)
    X = (np.eye(3)[np.arange(N) % 3] + rng.normal(0, 0.1, (N, 3))).astype(np.float32)
    y = np.where(np.arange(N) < 6, np.arange(N) % 3, -1)
    arguments = {**GRID, "normalize": True} | changes
    X, y = arguments.pop("X", X), arguments.pop("y", y)
    return ShardFiles(ShardedGridSearch(**arguments), X, y)


@pytest.fixture(scope="module")
def steps() -> dict:
    """Everything that two shards make."""
    of, shards = files(), [Shard(1, 2), Shard(2, 2)]
    near = of.search.neighbours(of.X)
    clustered = [of.search.cluster_shard(of.X, of.y, near, shard) for shard in shards]
    scored = [of.search.score_shard(of.X, of.y, clustered, shard) for shard in shards]
    return {"near": near, "clustered": clustered, "scored": scored}


@pytest.fixture
def saved(tmp_path, steps):
    """Paths of what two shards write."""
    of = files()
    of.save_neighbours(tmp_path / "N.npz", steps["near"])
    for i in range(2):
        of.save_clustered(tmp_path / f"C{i + 1}.npz", steps["clustered"][i])
        of.save_scored(tmp_path / f"S{i + 1}.npz", steps["scored"][i], steps["clustered"])
    return tmp_path


def clusterings(folder, *numbers: int) -> list:
    return [folder / f"C{number}.npz" for number in numbers]


def test_what_is_written_is_read(saved, steps):
    of = files()
    near = of.load_neighbours(saved / "N.npz")
    clustered = of.load_clustered(clusterings(saved, 2, 1))[::-1]
    scored = of.load_scored([saved / "S1.npz", saved / "S2.npz"], clustered)
    for one, other in zip(
        [near, *clustered, *scored],
        [steps["near"], *steps["clustered"], *steps["scored"]],
        strict=True,
    ):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)
            if isinstance(value, np.ndarray):
                assert value.dtype == getattr(other, name).dtype


OTHER = [
    ({"X": files().X + 1}, "was made from other features"),
    ({"normalize": False}, "was made from features normalised in another way .found true, expe"),
    ({"y": np.full(N, -1)}, "was made with other labels"),
    ({"k": [3, 4]}, r"was made for other k .found \[3,5\], expected \[3,4\]"),
    (
        {"density_percentile": [40, 85]},
        r"was made for other percentiles .found \[40,80\], expected \[40,85",
    ),
]


@pytest.mark.parametrize(("changes", "message"), OTHER)
def test_clusterings_and_silhouettes_of_something_else(saved, steps, changes, message):
    other = files(**changes)
    with pytest.raises(InputError, match=f"C1.npz: {message}"):
        other.load_clustered(clusterings(saved, 1, 2))
    with pytest.raises(InputError, match=f"S2.npz: {message}.*; make it again"):
        other.load_scored([saved / "S2.npz"], steps["clustered"])


@pytest.mark.parametrize(("changes", "message"), OTHER[:2])
def test_neighbours_of_something_else(saved, changes, message):
    with pytest.raises(InputError, match=f"N.npz: {message}"):
        files(**changes).load_neighbours(saved / "N.npz")


def test_neighbours_depend_on_features_alone(saved):
    smaller = files(y=np.full(N, -1), k=[2], density_percentile=[10])
    assert smaller.load_neighbours(saved / "N.npz").ids.shape[0] == N


def test_silhouettes_of_other_clusterings(saved, steps):
    first, second = steps["clustered"]
    changed = replace(first, labels=np.roll(first.labels, 1, axis=1))
    with pytest.raises(InputError, match=r"S1.npz: was made of other clusterings"):
        files().load_scored([saved / "S1.npz", saved / "S2.npz"], [changed, second])


@pytest.mark.parametrize(("numbers", "found"), [((1,), "1/2"), ((1, 1), "1/2"), ((1, 2, 2), "2/2")])
def test_every_shard_once(saved, steps, numbers, found):
    message = r"1.npz \(1/2\).*: expected each of 2 shards once"
    with pytest.raises(InputError, match=f"C{message}") as caught:
        files().load_clustered(clusterings(saved, *numbers))
    assert f"({found}): expected" in str(caught.value)
    with pytest.raises(InputError, match=f"S{message}"):
        files().load_scored([saved / f"S{i}.npz" for i in numbers], steps["clustered"])


def test_shards_of_two_divisions(saved):
    of = files()
    near = of.load_neighbours(saved / "N.npz")
    whole = of.search.cluster_shard(of.X, of.y, near, Shard(3, 4))
    of.save_clustered(saved / "C3.npz", whole)
    with pytest.raises(InputError, match=r"C2.npz \(2/2\), .*C3.npz \(3/4\): expected each of 2"):
        of.load_clustered(clusterings(saved, 1, 2, 3))


def rewrite(path, **changes) -> None:
    """Replace arrays of a file, or leave them out (None)."""
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def at(array: np.ndarray, place, value) -> np.ndarray:
    array = array.copy()
    array[place] = value
    return array


HOSTILE = [
    # array, how it is changed, what is said
    ("ids", lambda v: None, "array 'ids' is missing"),
    (
        "ids",
        lambda v: v.astype(float),
        "array 'ids' is float64 with 2 dimensions, expected integer",
    ),
    ("ids", lambda v: v[:, :, None], "with 3 dimensions"),
    (
        "ids",
        lambda v: at(v, (4, 1), N),
        f"'ids' holds {N} as a neighbour of sample 4, expected anot",
    ),
    ("ids", lambda v: at(v, (4, 1), -1), "'ids' holds -1 as a neighbour of sample 4"),
    ("ids", lambda v: at(v, (4, 0), 4), "'ids' holds 4 as a neighbour of sample 4"),
    ("ids", lambda v: at(v.astype(int), (4, 0), 2**31), "'ids' holds 2147483648 as a neighbour"),
    ("ids", lambda v: at(v, (4, 1), v[4, 0]), "lists are not of different neighbours, nearest fir"),
    ("ids", lambda v: v[:-1], f"expected lists of {N} samples"),
    ("dist", lambda v: v[:, :-1], f"expected lists of {N} samples"),
    ("dist", lambda v: at(v, (0, 1), np.nan), "lists are not of different neighbours"),
    ("dist", lambda v: at(v, (0, 0), -1), "lists are not of different neighbours"),
    ("dist", lambda v: at(v, (0, 0), v[0, 5]), "lists are not of different neighbours"),
    ("valid", lambda v: at(v, 3, 4), "'valid' reaches from 4 to .* expected 5 .the largest k. to"),
    ("valid", lambda v: at(v, 3, 999), "'valid' reaches from .* to 999 neighbours, expected 5"),
    ("valid", lambda v: v[:0], f"expected lists of {N} samples"),
    ("radius", lambda v: at(v, 3, np.nan), "lists are not of different neighbours"),
    ("radius", lambda v: at(v, 3, 0), "lists are not of different neighbours.*within 'radius'"),
    ("seconds", lambda v: -v, "'seconds' holds what is no time"),
    ("origin", lambda v: np.array("[]"), "'origin' is not a JSON object"),
    ("origin", lambda v: np.array("{}"), "was made from other features .found null"),
    ("origin", lambda v: np.array('{"features":[' + "1," * 99 + "1]}"), "found .1,1.* …, expected"),
]


@pytest.mark.parametrize(("name", "change", "message"), HOSTILE)
def test_hostile_neighbours(saved, steps, name, change, message):
    value = getattr(steps["near"], name, None)
    rewrite(saved / "N.npz", **{name: change(value)})
    with pytest.raises(InputError, match=f"N.npz: .*{message}"):
        files().load_neighbours(saved / "N.npz")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_truncated_files(saved, share):
    for name in ("N", "C1"):
        path = saved / f"{name}.npz"
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"N.npz: not a readable .npz file"):
        files().load_neighbours(saved / "N.npz")
    with pytest.raises(InputError, match=r"C1.npz: not a readable .npz file"):
        files().load_clustered(clusterings(saved, 1, 2))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("labels", lambda v: at(v, (1, 3), -1), "'labels' are not consecutive cluster ids from 0"),
        ("labels", lambda v: at(v, (1, 3), N - 1), "'labels' are not consecutive cluster ids"),
        ("labels", lambda v: at(v.astype(np.int64), (1, 3), 2**40), "'labels' are not consecutive"),
        ("labels", lambda v: v[:1], r"shape \(1, 90\).*expected 2 configurations of 90 samples in"),
        ("labels", lambda v: v[:, 1:], r"shape \(2, 89\) .* in shard 1/2"),
        ("seconds", lambda v: v[:1], r"'seconds' \(1,\), expected 2 configurations"),
        ("seconds", lambda v: v * np.nan, "'seconds' holds what is no time"),
        ("shard", lambda v: np.array([1, 2, 3]), "'shard' holds 3 numbers, expected 2"),
        ("shard", lambda v: np.array([3, 2]), "shard 3 of 2, expected one from 1 to 2"),
        ("shard", lambda v: np.array([1, 10**9]), "1000000000 shards for 4 configurations"),
    ],
)
def test_hostile_clusterings(saved, steps, name, change, message):
    value = getattr(steps["clustered"][0], name)
    rewrite(saved / "C1.npz", **{name: change(value)})
    with pytest.raises(InputError, match=f"C1.npz: .*{message}"):
        files().load_clustered(clusterings(saved, 1, 2))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("sums", lambda v: v[:, :0], r"'sums' has shape \(1, 0\), expected \(1, \d\)"),
        ("sums", lambda v: v[:0], r"'sums' has shape \(0, \d\), expected \(1, \d\)"),
        ("sums", lambda v: v + 65, "'sums' holds what are no sums of 64 silhouettes"),
        ("sums", lambda v: v * np.nan, "'sums' holds what are no sums of 64 silhouettes"),
        ("seconds", lambda v: np.array(np.inf), "'seconds' holds what is no time"),
        ("shard", lambda v: np.array([0, 2]), "shard 0 of 2"),
    ],
)
def test_hostile_silhouettes(saved, steps, name, change, message):
    value = getattr(steps["scored"][0], name)
    rewrite(saved / "S1.npz", **{name: change(value)})
    with pytest.raises(InputError, match=f"S1.npz: .*{message}"):
        files().load_scored([saved / "S1.npz", saved / "S2.npz"], steps["clustered"])

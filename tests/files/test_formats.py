"""The npz files between the stages: round trips, and every way in which they can be wrong."""

import pickle
import random
from dataclasses import replace

import numpy as np
import pytest
from gcdflow.errors import InputError
from gcdflow.files.arrays import read_npz
from gcdflow.files.formats import Features, Labels, PseudoLabels, Split, Truth, align
from hypothesis import given
from hypothesis import strategies as st


def truth(**changes) -> Truth:
    arrays = {
        "indices": np.array([7, 3, 5]),
        "labels": np.array([0, 2, 1]),
        "old_mask": np.array([True, False, True]),
        "class_names": np.array(["a", "b", "c"]),
    }
    return Truth(**(arrays | changes))


def labels(**changes) -> Labels:
    arrays = {
        "indices": np.array([7, 3, 5]),
        "labels": np.array([0, -1, 2]),
        "class_names": np.array(["a", "b", "c"]),
    }
    return Labels(**(arrays | changes))


def features(**changes) -> Features:
    arrays = {
        "indices": np.array([7, 3, 5]),
        "features": np.arange(6, dtype=np.float32).reshape(3, 2),
        "labels": np.array([0, -1, -1]),
        "train_mask": np.array([True, True, False]),
        "metadata": {"epoch": 3, "checkpoint": "größe.pt"},
    }
    return Features(**(arrays | changes))


def pseudo(**changes) -> PseudoLabels:
    arrays = {
        "indices": np.array([7, 3, 5]),
        "labels": np.array([1, 0, 1]),
        "core_mask": np.array([True, False, True]),
        "densities": np.array([1, 2, 3], dtype=np.float32),
        "best_params": {"k": 3, "density_percentile": 40},
        "metadata": {"score": 0.1, "label_change_rate": None},
    }
    return PseudoLabels(**(arrays | changes))


def assert_same(a, b) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, np.ndarray):
            assert value.dtype == other.dtype, name
            np.testing.assert_array_equal(value, other)
        else:
            assert value == other


@pytest.mark.parametrize("make", [truth, labels, features, pseudo, None])
def test_round_trip(tmp_path, make, make_split):
    value = (make or make_split)()
    value.save(tmp_path / "1.npz")
    loaded = type(value).load(tmp_path / "1.npz")
    assert_same(value, loaded)
    loaded.save(tmp_path / "2.npz")
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with np.load(tmp_path / "1.npz", allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_documented_dtypes(tmp_path, make_split):
    """The contract with other programs that read the files (docs/contract.md, sections 2 and 4)."""
    pseudo().save(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as archive:
        assert {name: (archive[name].dtype.kind, archive[name].ndim) for name in archive.files} == {
            "indices": ("i", 1),
            "labels": ("i", 1),
            "core_mask": ("b", 1),
            "densities": ("f", 1),
            "best_params": ("U", 0),
            "metadata": ("U", 0),
        }


def test_paths_of_images_survive(tmp_path, make_split):
    paths = np.array([f"a b/ö{i}.jpg" for i in range(20)])
    split = make_split(paths=paths, source={"dataset": "cub", "root": "x"})
    split.save(tmp_path / "s.npz")
    assert_same(Split.load(tmp_path / "s.npz"), split)


def test_images_that_were_left_out_survive(tmp_path, make_split):
    assert make_split().left_out == {}
    source = {"dataset": "photos", "root": "x", "left_out": {"ö.jpg": "torn"}}
    make_split(source=source).save(tmp_path / "s.npz")
    assert Split.load(tmp_path / "s.npz").left_out == {"ö.jpg": "torn"}
    for left_out in (["ö.jpg"], {"ö.jpg": 1}, {"ö.jpg": ""}, {"": "torn"}, None, "ö.jpg"):
        make_split(source=source | {"left_out": left_out}).save(tmp_path / "s.npz")
        with pytest.raises(InputError, match=r"s\.npz: 'source' has left_out .*, expected paths w"):
            Split.load(tmp_path / "s.npz")


def test_integers_of_any_kind_become_int64(tmp_path):
    path = tmp_path / "x.npz"
    for dtype in (np.int8, np.uint16, ">i4"):
        np.savez(path, a=np.array([1, 2], dtype=dtype))
        assert read_npz(path, {"a": "i1"})["a"].dtype == np.int64


# -- broken files ----------------------------------------------------------------------------------


class Payload:
    """An object whose unpickling would create a file."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return open, (self._path, "w")


def test_pickled_objects_are_refused_and_not_executed(tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "x.npz"
    arrays = {name: value for name, value in vars(features()).items() if name != "metadata"}
    for name in ("labels", "metadata"):
        np.savez(path, **(arrays | {name: np.array([Payload(trap)], dtype=object)}))
        with pytest.raises(InputError, match=r"x\.npz: not a readable \.npz file of plain arrays"):
            Features.load(path)
    path.write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(InputError, match=r"x\.npz: not a readable \.npz file of plain arrays"):
        Features.load(path)
    assert not trap.exists()
    np.load(tmp_path / "x.npz", allow_pickle=True)  # the trap does work
    assert trap.exists()


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"absent\.npz: no such file"):
        Truth.load(tmp_path / "absent.npz")
    with pytest.raises(InputError, match=r"not a readable \.npz file"):
        Truth.load(tmp_path)


def test_single_array(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    with pytest.raises(InputError, match=r"expected an \.npz archive, found a single \.npy array"):
        PseudoLabels.load(tmp_path / "x.npy")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut off", b"\x93NUM"])
def test_not_an_archive(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npz: not a readable \.npz file of plain arrays"):
        Features.load(tmp_path / "x.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_altered_bytes_are_read_or_refused_but_nothing_else(tmp_path, save):
    path = tmp_path / "x.npz"
    save(path, **{k: v for k, v in vars(features()).items() if k != "metadata"})
    content, generator = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(300):
        altered = bytearray(content)
        for _ in range(generator.randint(1, 3)):
            altered[generator.randrange(len(altered))] = generator.randrange(256)
        if generator.random() < 0.1:
            altered = altered[: generator.randrange(len(altered))]
        path.write_bytes(altered)
        try:
            Features.load(path)
        except InputError:
            refused += 1
    assert refused > 100


# -- wrong content ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), "array 'labels' is float64 with 1 dimensions, expected integer with 1"),
        (np.zeros((3, 1), int), "array 'labels' is int64 with 2 dimensions, expected integer with"),
        (np.array(3), "array 'labels' is int64 with 0 dimensions"),
        (np.array(["a"] * 3), "array 'labels' is <U1 with 1 dimensions"),
        (np.zeros(3, bool), "array 'labels' is bool with 1 dimensions"),
        (np.zeros(2, int), r"arrays differ in length: .*'labels': 2"),
    ],
)
@pytest.mark.parametrize("make", [truth, labels, features, pseudo])
def test_wrong_labels_array(tmp_path, make, array, message):
    value = make(labels=array)
    value.save(tmp_path / "x.npz")
    with pytest.raises(InputError, match=rf"x\.npz: {message}"):
        type(value).load(tmp_path / "x.npz")


@pytest.mark.parametrize("make", [truth, labels, features, pseudo, None])
def test_missing_arrays(tmp_path, make, make_split):
    value = (make or make_split)()
    path = tmp_path / "x.npz"
    value.save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    optional = {"indices", "labels", "train_mask", "metadata"} if make is features else set()
    for name in arrays.keys() - optional:
        np.savez(path, **{k: v for k, v in arrays.items() if k != name})
        with pytest.raises(InputError, match=rf"array '{name}' is missing \(found: "):
            type(value).load(path)


@pytest.mark.parametrize("make", [truth, labels, features, pseudo, None])
def test_repeated_sample_ids(tmp_path, make, make_split):
    value = (make or make_split)()
    indices = value.indices.copy()
    indices[1] = indices[0]
    replace(value, indices=indices).save(tmp_path / "x.npz")
    with pytest.raises(InputError, match="'indices' holds a sample id more than once"):
        type(value).load(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (truth(labels=np.array([0, 1, 3])), "'labels' has values outside -1…2"),
        (truth(labels=np.array([0, 1, -2])), "'labels' has values outside -1…2"),
        (labels(labels=np.array([0, 1, 3])), "'labels' has values outside -1…2"),
        (labels(labels=np.array([0, 1, -2])), "'labels' has values outside -1…2"),
        (features(labels=np.array([0, -2, 1])), "'labels' holds -2; expected class ids from 0"),
        (
            features(features=np.array([[0, 1], [np.nan, 1], [np.inf, 2]], np.float32)),
            r"features of 2 of 3 samples are NaN or infinite \(first: sample 3\)",
        ),
        (features(features=np.zeros((3, 2), int)), "'features' is int64 with 2 dimensions"),
        (pseudo(labels=np.array([0, 2, 0])), "'labels' are not consecutive cluster ids from 0"),
        (pseudo(labels=np.array([1, 2, 1])), "'labels' are not consecutive cluster ids from 0"),
        (pseudo(labels=np.array([0, -1, 0])), "'labels' are not consecutive cluster ids from 0"),
    ],
)
def test_values_out_of_range(tmp_path, value, message):
    value.save(tmp_path / "x.npz")
    with pytest.raises(InputError, match=rf"x\.npz: .*{message}"):
        type(value).load(tmp_path / "x.npz")


def test_pseudo_labels_of_nothing(tmp_path):
    empty = np.zeros(0)
    value = pseudo(
        indices=empty.astype(int),
        labels=empty.astype(int),
        core_mask=empty.astype(bool),
        densities=empty,
    )
    assert value.n_clusters == 0
    value.save(tmp_path / "x.npz")
    with pytest.raises(InputError, match="holds no samples"):
        PseudoLabels.load(tmp_path / "x.npz")


def test_number_of_clusters():
    assert pseudo().n_clusters == 2


@pytest.mark.parametrize(
    ("text", "message"), [("{", "'metadata' is not JSON text"), ("[1]", "is not a JSON object")]
)
def test_metadata_that_is_no_json_object(tmp_path, text, message):
    np.savez(tmp_path / "x.npz", features=np.zeros((2, 2)), metadata=np.array(text))
    with pytest.raises(InputError, match=message):
        Features.load(tmp_path / "x.npz")


def split_changes():
    yield {"labelled_mask": np.zeros(20, bool)}, "labels of samples that are not labelled"
    yield {"labels": np.full(20, -1)}, "'labels' has values outside 0…2"
    yield {"old_class_names": np.array(["a"])}, "'labels' has values outside 0…0"
    yield {"train_mask": np.zeros(20, bool)}, "samples of the test split are labelled"
    yield {"paths": np.array(["a.jpg"])}, "1 image paths for 20 samples"
    yield {"train_mask": np.ones(19, bool)}, "arrays differ in length: .*'train_mask': 19"


@pytest.mark.parametrize(("changes", "message"), list(split_changes()))
def test_inconsistent_split(tmp_path, make_split, changes, message):
    make_split(**changes).save(tmp_path / "x.npz")
    with pytest.raises(InputError, match=rf"x\.npz: .*{message}"):
        Split.load(tmp_path / "x.npz")


def test_features_from_elsewhere(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.ones((4, 2)), surplus=np.array([{}]))
    loaded = Features.load(tmp_path / "x.npz")
    np.testing.assert_array_equal(loaded.indices, [0, 1, 2, 3])
    np.testing.assert_array_equal(loaded.labels, [-1] * 4)
    assert loaded.train_mask.all()
    assert loaded.metadata == {}


# -- align -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(-50, 50), unique=True), st.data())
def test_align_finds_every_position(ids, data):
    wanted = data.draw(st.lists(st.sampled_from(ids))) if ids else []
    positions = align("file", np.array(ids, dtype=np.int64), np.array(wanted, dtype=np.int64))
    assert positions.tolist() == [ids.index(i) for i in wanted]


@pytest.mark.parametrize("ids", [[], [1], [3, 1, 9]])
def test_align_names_the_first_missing_sample(ids):
    with pytest.raises(InputError, match=r"file: 2 of 2 expected samples are missing \(first: 5\)"):
        align("file", np.array(ids, dtype=np.int64), np.array([5, 100]))


def test_features_alone_may_be_a_npy_file(tmp_path):
    array = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    np.save(tmp_path / "f.npy", array)
    found = Features.load(tmp_path / "f.npy")
    np.testing.assert_array_equal(found.features, array)
    assert found.train_mask.all()
    assert (found.labels == -1).all()


def test_a_bad_npy_file_is_one_sentence(tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.npy: not a readable \.npy file"):
        Features.load(tmp_path / "bad.npy")
    with open(tmp_path / "archive.npy", "wb") as file:
        np.savez(file, features=np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"expected a single \.npy array, found an \.npz"):
        Features.load(tmp_path / "archive.npy")
    with pytest.raises(InputError, match=r"none\.npy: no such file"):
        Features.load(tmp_path / "none.npy")

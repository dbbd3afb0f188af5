"""The npz files between the stages: round trips, and every way in which they can be wrong."""

import re
from dataclasses import replace

import numpy as np
import pytest
from example_files import run_parts
from gcdflow.errors import InputError
from gcdflow.files.arrays import read_npz
from gcdflow.files.declared import FILES, Field
from gcdflow.files.formats import Features, PseudoLabels, Split, Truth, align
from hypothesis import given
from hypothesis import strategies as st

PARTS = run_parts()
FIELDS = [(name, field) for name, part in PARTS.items() for field in part.declared.fields]
ARRAYS = [(name, field) for name, field in FIELDS if field.axes]


def refused(tmp_path, value, message: str) -> None:
    """Written and read, it is an error of one sentence that names the file."""
    value.save(tmp_path / "x.npz")
    with pytest.raises(InputError, match=rf"x\.npz: .*{message}"):
        type(value).load(tmp_path / "x.npz")


def with_value(name: str, field: str, position: object, new: object):
    """A part of the run with another value at some position of an array."""
    array = getattr(PARTS[name], field).copy()
    array[position] = new
    return changed(name, field, array)


def changed(name: str, field: str, value: object):
    return replace(PARTS[name], **{field: value})


@pytest.mark.parametrize("value", PARTS.values(), ids=PARTS)
def test_round_trip(tmp_path, value):
    value.save(tmp_path / "1.npz")
    loaded = type(value).load(tmp_path / "1.npz")
    for name, found in vars(loaded).items():
        assert np.asarray(found).dtype == np.asarray(getattr(value, name)).dtype
        np.testing.assert_array_equal(found, getattr(value, name))
    loaded.save(tmp_path / "2.npz")
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with np.load(tmp_path / "1.npz", allow_pickle=False) as archive:
        assert list(archive) == list(value.declared.columns())
        for field in value.declared.fields:
            array = archive[field.name]
            kind = {"JSON": "str", "text": "str"}.get(field.kind, field.kind)
            assert (array.dtype.name.startswith(kind), array.ndim) == (True, len(field.axes))


def test_documented_dtypes():
    """The contract with other programs that read the files (docs/contract.md, section 4)."""
    fields = {field.name: (field.kind, field.axes) for field in PseudoLabels.declared.fields}
    assert fields == {
        "indices": ("int64", ("n",)),
        "labels": ("int64", ("n",)),
        "core_mask": ("bool", ("n",)),
        "densities": ("float32", ("n",)),
        "neighbours": ("int64", ("n", "10")),
        "best_params": ("JSON", ()),
        "metadata": ("JSON", ()),
    }


def test_paths_and_what_is_left_out_survive(tmp_path):
    assert PARTS["split"].left_out == {}
    source = {"dataset": "photos", "root": "x", "left_out": {"ö.jpg": "torn"}}
    paths = np.array([f"a b/ö{i}.jpg" for i in PARTS["split"].indices])
    replace(PARTS["split"], paths=paths, source=source).save(tmp_path / "s.npz")
    found = Split.load(tmp_path / "s.npz")
    assert found.left_out == {"ö.jpg": "torn"}
    np.testing.assert_array_equal(found.paths, paths)


def test_integers_of_any_kind_become_int64(tmp_path):
    path = tmp_path / "x.npz"
    for dtype in (np.int8, np.uint16, ">i4"):
        np.savez(path, a=np.array([1, 2], dtype=dtype))
        assert read_npz(path, [Field("a", "int64", "")])["a"].dtype == np.int64


def test_features_from_elsewhere(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.ones((4, 2)), surplus=np.array([{}]))
    np.save(tmp_path / "x.npy", np.ones((4, 2)))
    for name in ("x.npz", "x.npy"):
        loaded = Features.load(tmp_path / name)
        np.testing.assert_array_equal(loaded.features, np.ones((4, 2)))
        np.testing.assert_array_equal(loaded.indices, [0, 1, 2, 3])
        np.testing.assert_array_equal(loaded.labels, [-1] * 4)
        assert loaded.train_mask.all()
        assert loaded.metadata == {}


def test_number_of_clusters():
    assert PARTS["pseudo"].n_clusters == 4


# -- broken files ----------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    for name in ("absent.npz", "absent.npy"):
        with pytest.raises(InputError, match=rf"{name}: no such file"):
            Features.load(tmp_path / name)
    with pytest.raises(InputError, match=r"not a readable \.npz file"):
        Truth.load(tmp_path)


def test_an_array_and_an_archive_are_told_apart(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    with pytest.raises(InputError, match=r"expected an \.npz archive, found a single \.npy array"):
        PseudoLabels.load(tmp_path / "x.npy")
    with open(tmp_path / "archive.npy", "wb") as file:
        np.savez(file, features=np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"expected a single \.npy array, found an \.npz"):
        Features.load(tmp_path / "archive.npy")


@pytest.mark.parametrize("suffix", ["npz", "npy"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut off", b"\x93NUM"])
def test_not_an_archive(tmp_path, suffix, content):
    (tmp_path / f"x.{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=rf"x\.{suffix}: (not a readable|expected a single)"):
        Features.load(tmp_path / f"x.{suffix}")


# -- wrong content ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_missing_field(tmp_path, name, field):
    path, value = tmp_path / "x.npz", PARTS[name]
    value.save(path)
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive if key != field.name}
    np.savez(path, **arrays)
    if field.optional:
        type(value).load(path)
        return
    with pytest.raises(InputError, match=rf"array '{field.name}' is missing \(found: "):
        type(value).load(path)


@pytest.mark.parametrize(("name", "field"), ARRAYS)
def test_an_array_of_another_kind_or_length(tmp_path, name, field):
    array = getattr(PARTS[name], field.name)
    words = {"int64": "integer", "float32": "float"}.get(field.kind, field.kind)
    expected = rf"expected {words} with {len(field.axes)}"
    for other in (array[None], array.astype("c16" if field.kind != "text" else "S9"), np.array(3)):
        value = changed(name, field.name, other)
        refused(tmp_path, value, rf"(array '{field.name}' is .*{expected}|holds \S+, expected)")
    if field.axes[0] == "n":
        value = changed(name, field.name, array[1:])
        refused(tmp_path, value, rf"arrays differ in length: .*'{field.name}': {len(array) - 1}")


@pytest.mark.parametrize(("name", "field"), [pair for pair in ARRAYS if pair[1].unique])
def test_what_occurs_twice(tmp_path, name, field):
    first, said = getattr(PARTS[name], field.name)[0], f"'{field.name}' holds"
    refused(tmp_path, with_value(name, field.name, 1, first), f"{said} {first} more than once")
    if field.kind == "text":
        refused(tmp_path, with_value(name, field.name, 1, ""), f"{said} an empty name")


@pytest.mark.parametrize(("name", "field"), [p for p in ARRAYS if p[1].least is not None])
def test_numbers_out_of_range(tmp_path, name, field):
    expected, wrong = re.escape(field.range), [field.least - 1]
    if field.below:
        n = len(getattr(PARTS[name], field.below))
        expected, wrong = f"-1…{n - 1}", [*wrong, n]
    if field.kind == "float32":
        wrong = [2 * field.least if field.least < 0 else 0, np.nan, np.inf, -np.inf]
    for number in wrong:
        said = f"'{field.name}' of 1 of .* is out of range .first: .* of sample 3., expected "
        refused(tmp_path, with_value(name, field.name, 3, number), said + expected)


def test_numbers_of_any_width_are_compared_with_the_same_range(tmp_path):
    with_value("pseudo", "densities", 3, 1e-45).save(tmp_path / "x.npz")
    assert PseudoLabels.load(tmp_path / "x.npz").densities[3] > 0
    half = PARTS["features"].features.astype(np.float16)  # the largest number is 65504
    changed("features", "features", half).save(tmp_path / "x.npz")
    assert Features.load(tmp_path / "x.npz").features.dtype == np.float16
    half[3] = np.inf
    refused(tmp_path, changed("features", "features", half), "'features' of 1 of 40 samples is out")


@pytest.mark.parametrize("name", sorted({name for name, field in ARRAYS if field.axes[0] == "n"}))
def test_no_samples(tmp_path, name):
    fields = [field.name for field in PARTS[name].declared.fields if field.axes]
    empty = {field: getattr(PARTS[name], field)[:0] for field in fields}
    refused(tmp_path, replace(PARTS[name], **empty), "holds no samples")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (with_value("pseudo", "labels", slice(None), 1), "'labels' are not consecutive cluster"),
        (with_value("pseudo", "core_mask", slice(None), False), "'core_mask' marks no core point"),
        (with_value("truth", "old_mask", 3, True), "'old_mask' calls class 3 old for some samples"),
        (with_value("split", "labels", 0, -1), "'labels' and 'labelled_mask' disagree on 1 sam"),
        (with_value("split", "labelled_mask", 3, True), r"disagree on 1 samples \(first: 3\)"),
        (with_value("split", "train_mask", 0, False), "samples of the test split are labelled"),
        (changed("split", "paths", np.array(["a"])), "arrays differ in length: .*'paths': 1"),
        (changed("features", "metadata", {"epoch": None}), "'metadata': key 'epoch' is None"),
        (changed("pseudo", "metadata", {"n_clusters": 9}), "has n_clusters 9, but 'labels' has 4"),
        (changed("pseudo", "metadata", {"label_change_rate": 2}), "key 'label_change_rate' is 2"),
        (changed("pseudo", "metadata", {"agreement": -2}), "key 'agreement' is -2"),
        (changed("pseudo", "metadata", {"against_labels": "x"}), "key 'against_labels' is 'x'"),
        (changed("split", "source", {"root": 3}), "'source': key 'root' is 3"),
        (
            changed("split", "source", {"real_classes": "NA"}),
            "'source': key 'real_classes' is 'NA'",
        ),
        (changed("split", "source", {"real_classes": [1]}), "key 'real_classes.0' is 1"),
        (changed("split", "source", {"real_classes": {"NA": 1}}), "key 'real_classes' is {'NA'"),
    ],
)
def test_what_does_not_fit_together(tmp_path, value, message):
    refused(tmp_path, value, message)


@pytest.mark.parametrize("left_out", [["ö.jpg"], {"ö.jpg": 1}, {"ö.jpg": ""}, {"": "torn"}, None])
def test_wrong_images_that_were_left_out(tmp_path, left_out):
    value = changed("split", "source", {"left_out": left_out})
    refused(tmp_path, value, r"'source': key 'left_out\S* is ")


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON text"), ("[1]", "not a JSON obj")])
def test_metadata_that_is_no_json_object(tmp_path, text, message):
    np.savez(tmp_path / "x.npz", features=np.zeros((2, 2)), metadata=np.array(text))
    with pytest.raises(InputError, match=f"'metadata': {message}"):
        Features.load(tmp_path / "x.npz")


def test_every_file_has_a_rule_that_makes_it_where_it_is_declared(request):
    """The paths of the rules, in both directions."""
    rules = request.config.rootpath / "rules"
    written = "".join(path.read_text() for path in rules.glob("*.smk"))
    paths = set(re.findall(r'"runs/\{run\}/([^"]+)"', written))
    declared = {file.path for file in FILES if file.path != "log/"}
    assert paths == declared


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

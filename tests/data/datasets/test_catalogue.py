"""The shown labels follow the published draw, and the split does not contain the truth."""

import numpy as np
import pytest
from gcdflow.config.settings import DigitsSettings, kinds
from gcdflow.data.datasets import DATASETS, dataset_module, open_images
from gcdflow.data.datasets.catalogue import (
    UNKNOWN,
    Catalogue,
    draw_labelled,
    old_class_ids,
    published_split,
    split_catalogue,
)
from gcdflow.errors import InputError
from gcdflow.files.formats import Split, Truth
from hypothesis import given
from hypothesis import strategies as st

NAMES = [f"class {i}" for i in range(6)]


def catalogue(n: int = 60, n_classes: int = 6, old=(4, 1, 2), seed: int = 0) -> Catalogue:
    """Samples of random classes and splits; every class has at least one."""
    rng = np.random.default_rng(seed)
    return Catalogue(
        classes=rng.permutation([*range(n_classes), *rng.integers(0, n_classes, n - n_classes)]),
        train_mask=rng.random(n) < 0.7,
        class_names=[f"class {i}" for i in range(n_classes)],
        old_classes=list(old),
        source={"dataset": "digits"},
        paths=[],
    )


def settings(proportion: float = 0.5, seed: int = 0) -> DigitsSettings:
    return DigitsSettings(name="digits", prop_train_labels=proportion, seed=seed)


@given(st.integers(1, 300), st.floats(0.01, 1), st.integers(0, 2**32 - 1))
def test_draw_is_that_of_the_field(n, proportion, seed):
    """Like ``subsample_instances`` in the GCD code: seed the global generator, choose positions."""
    candidates = np.cumsum(np.random.default_rng(n).integers(1, 4, n))
    np.random.seed(seed)  # noqa: NPY002
    positions = np.random.choice(range(n), replace=False, size=int(proportion * n))  # noqa: NPY002
    drawn = draw_labelled(candidates, proportion, seed)
    np.testing.assert_array_equal(drawn, candidates[positions])


def test_draw_does_not_touch_the_global_generator():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    draw_labelled(np.arange(20), 0.5, 0)
    np.testing.assert_array_equal(np.random.random(3), expected)  # noqa: NPY002


@given(st.integers(30, 80), st.permutations(range(6)), st.integers(1, 5), st.floats(0.3, 1))
def test_split_shows_labels_of_old_training_samples_only(n, classes, n_old, proportion):
    given_catalogue = catalogue(n, old=classes[:n_old], seed=n)
    is_candidate = given_catalogue.train_mask & np.isin(given_catalogue.classes, classes[:n_old])
    if int(proportion * is_candidate.sum()) == 0:
        return
    split, truth = split_catalogue(given_catalogue, settings(proportion))

    labelled = split.labelled_mask
    assert labelled.sum() == int(proportion * is_candidate.sum())
    assert is_candidate[labelled].all()
    assert (split.labels[~labelled] == -1).all()
    np.testing.assert_array_equal(split.labels[labelled], truth.labels[labelled])
    np.testing.assert_array_equal(truth.old_mask, np.isin(given_catalogue.classes, classes[:n_old]))
    # Labels are positions in the list of old classes; names follow the labels.
    for sample in range(n):
        name = f"class {given_catalogue.classes[sample]}"
        assert truth.class_names[truth.labels[sample]] == name
        if labelled[sample]:
            assert split.old_class_names[split.labels[sample]] == name
    assert truth.class_names[n_old:].tolist() == [f"class {c}" for c in sorted(classes[n_old:])]


def test_split_does_not_depend_on_the_hidden_truth():
    """Two datasets that differ only in hidden labels have the same split.npz."""
    one = catalogue(old=(0, 1))
    split, truth = split_catalogue(one, settings())
    hidden_new = truth.labels >= 2
    other_classes = np.where(hidden_new, 2 + (one.classes + 1) % 4, one.classes)
    test_old = ~one.train_mask & (one.classes < 2)
    other_classes[test_old] = 1 - other_classes[test_old]
    other = Catalogue(**{**vars(one), "classes": other_classes})
    assert not np.array_equal(other_classes, one.classes)
    again, _ = split_catalogue(other, settings())
    for name, value in vars(split).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_files_pass_their_own_checks(tmp_path):
    split, truth = split_catalogue(catalogue(), settings())
    split.save(tmp_path / "split.npz")
    truth.save(tmp_path / "truth.npz")
    assert Split.load(tmp_path / "split.npz").labelled_mask.sum() == split.labelled_mask.sum()
    assert len(Truth.load(tmp_path / "truth.npz").class_names) == 6
    assert len(split.old_class_names) == 3


def test_another_seed_labels_other_samples():
    a, _ = split_catalogue(catalogue(), settings())
    b, _ = split_catalogue(catalogue(), settings(seed=1))
    assert a.labelled_mask.sum() == b.labelled_mask.sum()
    assert not np.array_equal(a.labelled_mask, b.labelled_mask)


def test_a_catalogue_may_choose_the_labelled_samples():
    one = catalogue()
    labelled = one.train_mask & (one.classes == 4) & (np.arange(60) % 2 == 0)
    split, truth = split_catalogue(
        Catalogue(**{**vars(one), "labelled_mask": labelled}), settings()
    )
    np.testing.assert_array_equal(split.labelled_mask, labelled)
    assert set(split.labels[labelled]) == {0}
    assert truth.class_names[0] == "class 4"


def test_unknown_truth():
    one = catalogue()
    unknown = (np.arange(60) % 3 == 0) & (np.bincount(one.classes)[one.classes] > 3)
    classes = np.where(unknown, UNKNOWN, one.classes)
    split, truth = split_catalogue(Catalogue(**{**vars(one), "classes": classes}), settings())
    np.testing.assert_array_equal(truth.labels == UNKNOWN, unknown)
    assert not truth.old_mask[unknown].any()
    assert not split.labelled_mask[unknown].any()


def test_every_class_needs_images():
    one = catalogue()
    names = [*one.class_names, "class 6", "class 7"]
    expected = r"dataset 'digits': 2 of 8 classes have no images \(first: class 6\)"
    with pytest.raises(InputError, match=expected):
        split_catalogue(Catalogue(**{**vars(one), "class_names": names}), settings())


def test_old_class_ids():
    published = {"known_classes": [5, 2], "num_classes": 6}
    assert old_class_ids(None, NAMES, published) == [5, 2]
    assert old_class_ids([1, 0], NAMES, published) == [1, 0]
    assert old_class_ids(["class 3", "class 1"], NAMES, None) == [3, 1]


@pytest.mark.parametrize(
    ("chosen", "published", "message"),
    [
        (
            [0, 6],
            None,
            r"dataset\.old_classes: 6 is not a class here \(found 6, ids 0…5: class 0,",
        ),
        ([-1, 2], None, r"dataset\.old_classes: -1 is not a class here"),
        (["class 9"], None, r"dataset\.old_classes: 'class 9' is not a class here"),
        ([1, 1], None, r"dataset\.old_classes lists a class twice"),
        (["class 1", "class 1"], None, r"dataset\.old_classes lists a class twice"),
        (None, None, r"dataset\.old_classes is missing: list the names of the old classes"),
        (
            None,
            {"known_classes": [5], "num_classes": 7},
            r"found 6 classes, expected the 7 of the published list .* names in dataset\.old",
        ),
    ],
)
def test_bad_old_classes(chosen, published, message):
    with pytest.raises(InputError, match=message):
        old_class_ids(chosen, NAMES, published)


LISTS = ["cub", "stanford_cars", "fgvc_aircraft", "herbarium_19", "cifar10", "cifar100"]


@pytest.mark.parametrize("name", [*LISTS, "imagenet_100"])
def test_published_lists_are_complete(name):
    lists = published_split(name)
    unknown = [c for part in lists["unknown_classes"].values() for c in part]
    assert sorted(lists["known_classes"] + unknown) == list(range(lists["num_classes"]))


@pytest.mark.parametrize(("old", "proportion"), [((), 0.5), ((1,), 0.01)])
def test_nothing_left_to_label(old, proportion):
    with pytest.raises(InputError, match=r"dataset\.prop_train_labels: .* leaves none to label"):
        split_catalogue(catalogue(old=old), settings(proportion))


def test_unknown_dataset():
    with pytest.raises(
        InputError, match=r"dataset 'cars'; did you mean 'scars'\? \(known: aircraft, cifar10, .*\)"
    ):
        dataset_module("cars")
    with pytest.raises(InputError, match="unknown dataset 'None'"):
        open_images({}, np.array([]))


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_has_a_catalogue_and_settings(name):
    assert callable(dataset_module(name).catalogue)
    assert name in kinds("dataset")


def test_datasets_are_sorted():
    assert list(DATASETS) == sorted(DATASETS)

"""Newcomers: what clustering says of a test split, steady names, and what resembles nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_files import run_parts
from gcdflow.categories.assignments import Assignments, sort_samples
from gcdflow.categories.confidence import measured
from gcdflow.categories.newcomers import Newcomers
from gcdflow.categories.photographs import assign_photographs
from gcdflow.clustering.predict import cluster_test_samples, load_clustered
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.files.formats import Labels

N, N_TRAIN = 80, 60
FILES = ("split", "features", "pseudo")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch) -> dict:
    monkeypatch.chdir(tmp_path)
    parts = run_parts(N, N_TRAIN)
    for name in FILES:
        parts[name].save(f"{name}.npz")
    return parts


def sort(newcomers: Newcomers | None = None, labels: Labels | None = None):
    if labels is not None:
        labels.save("labels.npz")
    paths = [Path(f"{name}.npz") for name in FILES]
    return sort_samples(*paths, None if labels is None else Path("labels.npz"), newcomers)


def of_classes(classes: list[int], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.1, (len(classes), 4))
    return (np.eye(4)[classes] + noise).astype(np.float32)


def test_the_test_split_as_newcomers_gets_what_it_gets_as_a_test_split(parts):
    features, pseudo, at = load_clustered("features.npz", "pseudo.npz")
    test, clusters = cluster_test_samples(features, pseudo, at)
    whole, _ = sort()
    newcomers = Newcomers(1000 + np.arange(len(test)), features.features[test], unknown=0)
    found, strangers = sort(newcomers)
    assert not strangers.any()
    np.testing.assert_array_equal(found.clusters[N:], clusters)
    assert found.categories[N:] == [whole.categories[i] for i in test]
    np.testing.assert_allclose(found.confidences[N:], whole.confidences[test], atol=1e-3)
    assert found.categories[:N] == whole.categories


def test_names_stay_however_many_are_added(parts):
    # Clusters 2 and 3 are new; the second one gets a hundred newcomers.
    before, _ = sort()
    for group in (2, 3):
        rows = of_classes([group] * 100)
        found, _ = sort(Newcomers(1000 + np.arange(100), rows))
        assert found.categories[:N] == before.categories
        here = before.categories[np.flatnonzero(before.clusters == group)[0]]
        assert set(found.categories[N:]) == {here}


def test_a_labelled_newcomer_is_what_its_label_says_and_names_its_cluster(parts):
    plain = parts["labels"]
    labels = Labels(
        np.append(plain.indices, [1000, 1001]), np.append(plain.labels, [2, 1]), plain.class_names
    )
    newcomers = Newcomers(np.arange(1000, 1003), of_classes([3, 0, 3]))
    found, _ = sort(newcomers, labels)
    assert found.categories[N:] == ["cat", "bee", "cat"]
    assert found.labels[N:] == ["cat", "bee", ""]
    assert found.suggested[N:] == ["", "ant", ""]
    assert set(np.array(found.categories[:N])[found.clusters[:N] == 3]) == {"cat"}
    # Newcomers that the file does not know have no label.
    assert sort(newcomers, plain)[0].labels[N:] == [""] * 3


def test_the_only_core_point_is_no_measure_of_strangers():
    newcomers = Newcomers(np.arange(1000, 1002), np.zeros((2, 4), np.float32))
    distances = np.append(np.linspace(0, 1, 40), [np.inf, 0.5, 7])
    assert newcomers.strangers(distances).tolist() == [False, True]
    assert newcomers.strangers(np.array([np.inf, 0.5, 7])).tolist() == [False, False]


def test_what_lies_apart_resembles_no_category(parts):
    rows = np.concatenate([of_classes([0, 1, 2, 3] * 25, seed=1), -np.ones((5, 4), np.float32)])
    newcomers = Newcomers(1000 + np.arange(105), rows)
    _, strangers = sort(newcomers)
    assert strangers[N + 100 :].all()
    assert strangers[: N + 100].sum() <= 8
    _, none = sort(replace(newcomers, unknown=0))
    assert not none.any()
    _, half = sort(replace(newcomers, unknown=0.5))
    assert half[N : N + 100].sum() > 25
    assert not half[:N].any()
    assert newcomers.why_stranger == (
        "resembles no category (farther from all than 98 % of the run's images)"
    )
    label = Labels(np.append(parts["labels"].indices, 1100), np.full(N + 1, 0), np.array(["ant"]))
    _, strangers = sort(newcomers, label)
    assert not strangers[N + 100]  # a person said what it is
    assert strangers[N + 101 :].all()


def test_distances_are_to_the_nearest_category_without_the_sample_itself():
    rng = np.random.default_rng(0)
    rows, groups = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 4, 60)
    core = rng.random(60) < 0.6
    _, found = measured(rows, groups, core, groups)
    expected = [
        min(
            np.sort(np.linalg.norm(rows[others] - row, axis=1))[:3].mean()
            for group in range(4)
            if len(others := np.flatnonzero(core & (groups == group) & (np.arange(60) != i)))
        )
        for i, row in enumerate(rows)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_features_of_another_width(parts):
    with pytest.raises(
        InputError, match=r"features\.npz: its features have 4 dimensions, those of"
    ):
        sort(Newcomers(np.array([1000]), np.ones((1, 5), np.float32)))


# -- the table of photographs ----------------------------------------------------------------------


@pytest.fixture
def photos(parts) -> dict:
    """80 samples of photographs: the first is gone, the second moved; two were added."""
    names = np.array([f"{i:02d}.jpg" for i in range(N)])
    source = {"dataset": "photos", "root": "x", "left_out": {"old.jpg": "torn"}}
    parts["split"] = replace(parts["split"], paths=names, source=source)
    parts["split"].save("split.npz")
    ids = [*range(N), 1, 2**40, 2**41, 2**42, 2**40]
    parts["photographs"] = replace(
        parts["photographs"],
        paths=np.array([*names, "moved.jpg", "b.jpg", "a.jpg", "torn.jpg", "copy.jpg"]),
        present=~np.isin(np.arange(N + 5), [0, 1]),
        indices=np.array(ids),
        sha256=np.array([f"{i:x}" for i in ids]),
        sizes=np.arange(N + 5),
        times=np.arange(N + 5),
        source=source
        | {"split_sha256": sha256_file("split.npz"), "left_out": {"link.jpg": "no such image"}},
    )
    metadata = parts["features"].metadata | {"unreadable": {f"{2**42:x}": "torn"}}
    parts["added"] = replace(
        parts["added"],
        indices=np.array([2**41, 2**40, 77]),
        features=np.concatenate([of_classes([1, 2]), -np.ones((1, 4), np.float32)]),
        metadata=metadata,
    )
    return parts


def table(parts: dict) -> Assignments:
    names = ("split", "features", "pseudo", "labels", "photographs", "added")
    for name in names:
        parts[name].save(f"{name}.npz")
    return assign_photographs(*(Path(f"{name}.npz") for name in names))


def test_the_table_has_what_is_there(photos):
    found = table(photos)
    assert found.paths[:2] == ["moved.jpg", "02.jpg"]
    assert found.paths[-3:] == ["a.jpg", "b.jpg", "copy.jpg"]
    assert len(found.paths) == N + 2
    assert found.left_out == {"link.jpg": "no such image", "torn.jpg": "torn"}
    assert found.categories[-3:] == ["bee", found.categories[1], found.categories[1]]
    assert found.train_mask[-3:].all()
    assert not found.core_mask[-3:].any()
    found.save("a.csv")
    again = Assignments.load("a.csv")
    assert again.paths == found.paths
    np.testing.assert_array_equal(again.doubtful, found.doubtful)


def test_strangers_are_in_no_category(photos):
    rows = photos["added"].features.copy()
    rows[1] = -1
    photos["added"] = replace(photos["added"], features=rows)
    found = table(photos)
    assert found.paths[-2:] == ["79.jpg", "a.jpg"]
    assert found.left_out.keys() == {"b.jpg", "copy.jpg", "link.jpg", "torn.jpg"}
    assert found.left_out["b.jpg"].startswith("resembles no category (")
    labels = photos["labels"]
    photos["labels"] = replace(
        labels, indices=np.append(labels.indices, 2**40), labels=np.append(labels.labels, 2)
    )
    found = table(photos)
    assert found.paths[-2:] == ["b.jpg", "copy.jpg"]
    assert found.labels[-2:] == found.categories[-2:] == ["cat", "cat"]


def test_tables_of_files_that_do_not_belong_together(photos):
    added, seen = photos["added"], photos["photographs"]
    others = {
        r"added\.npz: 1 of 2 expected samples are missing": {
            "added": replace(added, indices=np.array([2**41, 5, 77]))
        },
        r"added\.npz: was made with another checkpoint than features\.npz": {
            "added": replace(added, metadata=added.metadata | {"checkpoint_sha256": "x"})
        },
        r"photographs\.npz: is of another split than split\.npz": {
            "photographs": replace(seen, source=seen.source | {"split_sha256": "x"})
        },
    }
    for message, other in others.items():
        with pytest.raises(InputError, match=message):
            table(photos | other)

"""Categories from labels and clusters, and confidence against its definition."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gcdflow.categories.assignments import Assignments, assign
from gcdflow.categories.confidence import measured
from gcdflow.categories.naming import name_clusters, new_names
from gcdflow.categories.verdict import is_poor, verdict
from gcdflow.errors import InputError
from gcdflow.files.formats import Features, Labels, PseudoLabels, Split
from stage_processes import in_process

N, N_TRAIN = 90, 70
SHA = {"checkpoint_sha256": "1f", "fingerprint": "2e"}
HEADER = "path,category,confidence,doubtful,core_point,label,suggested,split,cluster,problem"


@pytest.fixture
def parts() -> dict:
    """Four clusters in five dimensions, in random order; clusters 1 and 3 hold labels."""
    rng = np.random.default_rng(0)
    indices = rng.permutation(1000)[:N].astype(np.int64)
    train = rng.permutation(N) < N_TRAIN
    groups = rng.choice(4, N, p=[0.2, 0.25, 0.35, 0.2])
    rows = rng.normal(0, 1, (4, 5))[groups] + rng.normal(0, 0.5, (N, 5))
    rows *= rng.uniform(0.1, 9, (N, 1))
    labels = np.where(groups == 1, 1, 0)
    labelled = train & np.isin(groups, [1, 3]) & (rng.random(N) < 0.4)
    split = Split(
        indices=indices,
        train_mask=train,
        labelled_mask=labelled,
        labels=np.where(labelled, labels, -1),
        source={"dataset": "cub", "root": "images"},
        paths=np.array([f"{i}.jpg" for i in indices]),
        old_class_names=np.array(["crow, hooded", "=owl"]),
    )
    mixed = rng.permutation(N)
    features = Features(
        indices[mixed], rows[mixed].astype(np.float32), split.labels[mixed], train[mixed], SHA
    )
    order = rng.permutation(np.flatnonzero(train))
    pseudo = PseudoLabels(
        indices=indices[order],
        labels=groups[order],
        core_mask=rng.random(N_TRAIN) < 0.6,
        densities=np.ones(N_TRAIN, np.float32),
        neighbours=np.empty((N_TRAIN, 0), np.int64),
        best_params={},
        metadata=SHA | {"normalize": True},
    )
    return {"split": split, "features": features, "pseudo": pseudo}


def assigned(folder: Path, parts: dict, labels: Labels | None = None, threads: int = 1):
    paths = [folder / f"{name}.npz" for name in parts]
    for path, part in zip(paths, parts.values(), strict=True):
        part.save(path)
    if labels is not None:
        labels.save(folder / "labels.npz")
        paths.append(folder / "labels.npz")
    return assign(*paths, threads=threads)


def naive_confidences(rows, own, core, stands_for) -> np.ndarray:
    found = []
    for i, row in enumerate(rows):
        mean = {}
        for category in np.unique(stands_for[core]):
            others = np.flatnonzero(core & (stands_for == category) & (np.arange(len(rows)) != i))
            if len(others):
                mean[category] = np.sort(np.linalg.norm(rows[others] - row, axis=1))[:3].mean()
        b = min((d for category, d in mean.items() if category != own[i]), default=None)
        if own[i] not in mean:
            found.append(0.0)
        elif b is None:
            found.append(1.0)
        else:
            a = mean[own[i]]
            found.append(max(0.0, (b - a) / max(a, b)))
    return np.array(found)


@pytest.mark.parametrize("normalize", [True, False])
def test_against_the_definition(tmp_path: Path, parts: dict, normalize: bool):
    split, features = parts["split"], parts["features"]
    metadata = parts["pseudo"].metadata | {"normalize": normalize}
    pseudo = parts["pseudo"] = replace(parts["pseudo"], metadata=metadata)
    found = assigned(tmp_path, parts)
    assert found.paths == split.paths.tolist()
    np.testing.assert_array_equal(found.train_mask, split.train_mask)

    row_of = dict(zip(features.indices.tolist(), features.features.astype(float), strict=True))
    rows = np.array([row_of[i] for i in split.indices.tolist()])
    if normalize:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cluster_of = dict(zip(pseudo.indices.tolist(), pseudo.labels.tolist(), strict=True))
    core_ids = set(pseudo.indices[pseudo.core_mask].tolist())
    core = np.array([i in core_ids for i in split.indices.tolist()])
    np.testing.assert_array_equal(found.core_mask, core)
    clusters = np.array([cluster_of.get(i, -1) for i in split.indices.tolist()])
    for i in np.flatnonzero(~split.train_mask):
        means = [
            np.sort(np.linalg.norm(rows[core & (clusters == c)] - rows[i], axis=1))[:3].mean()
            for c in range(4)
        ]
        clusters[i] = np.argmin(means)
    np.testing.assert_array_equal(found.clusters, clusters)

    sizes = np.bincount(clusters)
    larger = 0 if sizes[0] >= sizes[2] else 2
    name_of = {1: "=owl", 3: "crow, hooded", larger: "new-1", 2 - larger: "new-2"}
    assert found.categories == [name_of[c] for c in clusters.tolist()]
    expected = naive_confidences(rows, clusters, core, clusters)
    expected[split.labelled_mask] = 1
    np.testing.assert_allclose(found.confidences, expected, atol=5.1e-4)
    np.testing.assert_array_equal(found.confidences, np.round(found.confidences, 3))
    assert set(found.suggested) == {""}


def test_confidences_of_hard_cases():
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 1, (400, 7)).astype(np.float32)
    rows[:40] = rows[40:80]
    stands_for = rng.choice(6, 400, p=[0.5, 0.3, 0.17, 0.01, 0.01, 0.01])
    core = rng.random(400) < 0.5
    core[stands_for == 4] = False  # a category without core points
    core[np.flatnonzero(stands_for == 3)[1:]] = False  # one with a single core point
    own = np.where(rng.random(400) < 0.2, rng.integers(0, 8, 400), stands_for)
    found = measured(rows, own, core, stands_for)[0]
    expected = naive_confidences(rows.astype(float), own, core, stands_for)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (found[own >= 6] == 0).all()
    np.testing.assert_array_equal(measured(rows, own, core, stands_for, threads=3)[0], found)


def test_confidences_without_a_rival_and_of_equal_rows():
    rows, zeros = np.ones((6, 2), np.float32), np.zeros(6, int)
    core = np.arange(6) < 3
    assert measured(rows, zeros, core, zeros)[0].tolist() == [1] * 6
    assert measured(rows[:1], zeros[:1], core[:1], zeros[:1])[0].tolist() == [1]
    halves = np.array([0, 0, 1, 0, 1, 1])
    assert measured(rows, halves, core, halves)[0][3:].tolist() == [0, 0, 0]


def test_blocks_join_without_seams(monkeypatch):
    rng = np.random.default_rng(2)
    rows, groups = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 3, 50)
    core = rng.random(50) < 0.7
    whole = measured(rows, groups, core, groups)[0]
    monkeypatch.setattr("gcdflow.categories.confidence._BLOCK", 7)
    np.testing.assert_allclose(measured(rows, groups, core, groups, 2)[0], whole, atol=1e-6)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        # one list for each cluster: labels of its members
        pytest.param([[0, 0, -1], [1, -1, -1]], [0, 1], id="plain"),
        pytest.param([[-1, -1], [-1, -1, -1]], [3, 2], id="new, larger first"),
        pytest.param([[-1, -1], [-1, -1]], [2, 3], id="ties go to the lower cluster"),
        pytest.param([[0] * 5, [0, 0, -1], [1]], [0, 0, 1], id="two clusters of one class"),
        pytest.param([[0] + [-1] * 99, [-1] * 50], [0, 2], id="one label names a hundred"),
        pytest.param([[0] * 30 + [-1] * 30, [0] + [-1] * 60], [0, 2], id="a stray names nothing"),
        pytest.param([[0] * 90, [0] * 9 + [-1] * 20], [0, 0], id="a quarter of the cluster"),
        pytest.param([[0] * 9, [0] * 3 + [-1] * 90], [0, 0], id="a quarter of the class"),
        pytest.param([[0] * 9, [0] * 2 + [-1] * 90], [0, 2], id="less than a quarter of the class"),
        pytest.param([[0] * 3 + [-1] * 9, [0] + [-1] * 90], [0, 2], id="one of few is a stray"),
        pytest.param([[0, 0, -1], [0] + [-1] * 90], [0, 2], id="one of three is a stray"),
        pytest.param([[0] + [-1] * 90, [0] + [-1] * 90], [0, 0], id="one each names both"),
        pytest.param([[0] * 3, [0] + [-1] * 3], [0, 0], id="a quarter of a small cluster"),
        pytest.param([[1] + [-1] * 50, [0] * 40 + [-1] * 9], [1, 0], id="rare labels count fully"),
        pytest.param([[0, 1, -1], [1, 0]], [0, 0], id="half is enough, ties to the lower label"),
        pytest.param([[0, 1, -1]], [0], id="a single cluster"),
    ],
)
def test_names_of_clusters(members: list[list[int]], expected: list[int]):
    clusters = np.repeat(np.arange(len(members)), [len(labels) for labels in members])
    labels = np.concatenate([np.array(labels) for labels in members])
    assert name_clusters(clusters, labels, 2, len(members)).tolist() == expected


def test_a_cluster_of_many_minorities_is_new():
    clusters, labels = np.array([0, 0, 0, 1]), np.array([0, 1, 2, -1])
    assert name_clusters(clusters, labels, 3, 2).tolist() == [4, 3]  # few unlabelled: later


def test_new_names_avoid_classes():
    assert new_names(3, ["new-1", "owl", "new-3"]) == ["new-2", "new-4", "new-5"]


def test_newer_labels_replace_those_of_the_split(tmp_path: Path, parts: dict):
    split = parts["split"]
    before = assigned(tmp_path, parts)
    chosen = next(i for i in range(N) if before.categories[i] == "new-2" and before.core_mask[i])
    test = int(np.flatnonzero(~split.train_mask & (before.clusters == 1))[0])
    labels = np.full(N, -1)
    labels[[chosen, test]] = [2, 0]
    order = np.random.default_rng(0).permutation(N)
    newer = Labels(split.indices[order], labels[order], np.array(["new-1", "jay", "tit"]))
    found = assigned(tmp_path, parts, newer)
    assert found.labels == ["" if label < 0 else ["new-1", "", "tit"][label] for label in labels]
    of_cluster = dict(zip(found.clusters.tolist(), found.categories, strict=True))
    assert of_cluster[before.clusters[chosen]] == "tit"
    assert found.categories[test] == "new-1"
    assert set(found.categories) - {"tit", "new-1"} <= {"new-2", "new-3", "new-4"}
    assert found.old_categories == {"tit", "new-1", "jay"}

    # Of rows without a label, the user's classes are still the user's.
    unlabelled = np.flatnonzero([not label for label in found.labels])
    some = found.at(unlabelled, [found.paths[i] for i in unlabelled], {})
    discovered = {"new-2", "new-3", "new-4"} & set(some.categories)
    assert "tit" in some.categories
    n = len(set(some.categories) - discovered)
    assert f": {n} of yours, {len(discovered)} discovered;" in some.summary()


def test_a_label_against_the_cluster_is_certain_but_questioned(tmp_path: Path, parts: dict):
    split = parts["split"]
    before = assigned(tmp_path, parts)
    some = np.flatnonzero((before.clusters == 3) & split.labelled_mask)[0]
    labels = split.labels.copy()
    labels[some] = 1
    found = assigned(tmp_path, parts, Labels(split.indices, labels, split.old_class_names))
    assert found.categories[some] == found.labels[some] == "=owl"
    assert found.confidences[some] == 1
    assert not found.doubtful[some]
    assert found.suggested[some] == "crow, hooded"
    assert [i for i in range(N) if found.suggested[i]] == [some]


def test_table_as_written_and_read(tmp_path: Path, parts: dict):
    indices = parts["split"].indices
    without = replace(parts["split"], paths=np.array([], dtype=np.str_))
    found = assigned(tmp_path, {**parts, "split": without})
    assert found.paths == [str(i) for i in indices]
    paths = ['=1+1,"x".jpg', "Käfer/\n.jpg", *found.paths[2:]]
    found = replace(found, paths=paths, confidences=np.round(found.confidences, 3))
    found.save(tmp_path / "a.csv")
    read = Assignments.load(tmp_path / "a.csv")
    assert read.left_out == {}
    assert found.class_names
    for name, value in vars(replace(found, class_names=frozenset())).items():
        np.testing.assert_array_equal(getattr(read, name), value)
    content = (tmp_path / "a.csv").read_bytes()
    assert content.startswith("\ufeffpath".encode())  # so that spreadsheets read it as UTF-8
    assert b"\r" not in content
    header, first, *rest = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert ",".join(header) == HEADER
    assert first[0] == '=1+1,"x".jpg'
    doubtful = [row[3] == "true" for row in (first, *rest)]
    assert doubtful == found.doubtful.tolist() == read.doubtful.tolist()
    assert 0 < sum(doubtful) < N


def test_excluded_images_are_rows_without_a_category(tmp_path: Path, parts: dict):
    left_out = {"gone.jpg": "no such image", "torn,\n.jpg": 'not a readable image ("x", y)'}
    source = parts["split"].source | {"left_out": left_out}
    found = assigned(tmp_path, {**parts, "split": replace(parts["split"], source=source)})
    assert found.left_out == left_out
    assert found.summary().endswith(" % doubtful; 2 left out")
    found.save(tmp_path / "a.csv")
    read = Assignments.load(tmp_path / "a.csv")
    assert read.left_out == left_out
    assert read.paths == found.paths
    with open(tmp_path / "a.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == N + 2
    assert {row["problem"] for row in rows[:N]} == {""}
    assert [row["path"] for row in rows[N:]] == list(left_out)
    assert [row["problem"] for row in rows[N:]] == list(left_out.values())
    assert {row["category"] for row in rows[N:]} == {""}
    assert {row["cluster"] for row in rows[N:]} == {"-1"}


def test_line_breaks_in_names_stay(tmp_path: Path, parts):
    found = assigned(tmp_path, parts)
    names = ["a\rb.jpg", "a\nb.jpg", "\r\n", 'a"\r,b.jpg']
    torn = {"torn\r.jpg": "no image\r"}
    found = replace(found, paths=names + found.paths[len(names) :], left_out=torn)
    found.save(tmp_path / "a.csv")
    again = Assignments.load(tmp_path / "a.csv")
    assert (again.paths, again.left_out) == (found.paths, torn)
    assert (tmp_path / "a.csv").read_bytes().count(b"\r\n") == 1  # rows end as before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("path,label\na.jpg,owl\n", "not a table of assignments; expected a CSV file with the col"),
        (
            f"{HEADER}\na,b,2,true,true,,,train,0,\n",
            "row 1 has the confidence '2'",
        ),
        (f"{HEADER}\na,b,1,true,true,b,b,train,0,\n", "row 1 has the suggested 'b'"),
        (f"{HEADER}\na,b,1,maybe,true,b,,train,0,\n", "row 1 has the doubtful 'maybe'"),
        (f"{HEADER}\na,b,1,false,true,b,,train,0,torn\n", "row 1 has a problem, but is in a cat"),
        (f"{HEADER}\na,b\n", "not a table"),
        (b"\xff\xfe", "not a table"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path: Path, text: str | bytes | None, message: str):
    if text is not None:
        (tmp_path / "a.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as error:
        Assignments.load(tmp_path / "a.csv")
    assert "\n" not in str(error.value)


def test_stage_ends_with_a_summary(tmp_path: Path, parts: dict):
    found = assigned(tmp_path, parts)
    arguments = ["--split", "split.npz", "--features", "features.npz", "--threads", "1"]
    arguments += ["--pseudo-labels", "pseudo.npz", "--output", "a.csv"]
    done = in_process("assign", *arguments, cwd=tmp_path)
    share = 100 * np.mean(found.doubtful)
    mark = "warning: " if is_poor(found) else ""
    assert done.stderr.splitlines()[-2].endswith(f" {mark}{verdict(found)}")
    assert done.stderr.splitlines()[-1].endswith(
        f"a.csv: 90 images in 4 categories: 2 of yours, 2 discovered; {share:.0f} % doubtful"
    )


def test_doubtful_is_far_below_the_median_of_the_category_or_nothing(tmp_path: Path, parts: dict):
    found = replace(
        assigned(tmp_path, parts),
        categories=["owl"] * 5 + ["new-1"] * 4 + ["new-2"],
        confidences=np.array([0.9, 0.9, 0.61, 0.4, 0.0, 0.3, 0.3, 0.2, 0.16, 0.0]),
        labels=[""] * 10,
    )
    # Medians are 0.61, 0.25 and 0.
    expected = [False, False, False, True, True, False, False, False, True, True]
    assert found.doubtful.tolist() == expected


def test_labelled_samples_are_never_doubtful_and_do_not_count_in_the_median(
    tmp_path: Path, parts: dict
):
    found = replace(
        assigned(tmp_path, parts),
        categories=["owl"] * 7 + ["tit"],
        confidences=np.array([1, 1, 1, 0.6, 0.5, 0.3, 0, 0]),
        labels=["owl", "owl", "owl", "", "", "", "owl", "tit"],
    )
    assert found.doubtful.tolist() == [False] * 5 + [True, False, False]  # the median is 0.5

"""Other methods are measured as SSDDBC is, and see nothing of the truth but a number."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_files import make_estimates, run_parts
from gcdflow.clustering import baselines as methods
from gcdflow.clustering.number import ESTIMATES, estimates
from gcdflow.config.settings import BASELINES
from gcdflow.errors import InputError
from gcdflow.evaluation.accuracy import clustering_accuracy
from gcdflow.evaluation.baselines import evaluate_baseline
from gcdflow.evaluation.report import read_measured
from gcdflow.files import declared
from gcdflow.files.declared import BASELINE
from gcdflow.files.formats import Features, Truth
from sklearn.metrics import adjusted_rand_score
from stage_processes import in_process

WITHOUT_EXTRA = [method for method in BASELINES if method != "hdbscan_bcubed"]


@pytest.fixture
def parts(tmp_path: Path) -> dict:
    """Features and truth of 120 samples in four clear classes, 90 of them for training."""
    parts = run_parts(120, 90)
    return {name: parts[name] for name in ("features", "truth")}


def evaluated(folder: Path, parts: dict, method: str, **options) -> dict:
    paths = [folder / f"{name}.npz" for name in ("features", "truth")]
    parts["features"].save(paths[0])
    parts["truth"].save(paths[1])
    numbers = folder / "estimates.json"
    numbers.write_text(json.dumps(make_estimates(normalize=options.get("normalized", True))))
    return evaluate_baseline(method, *paths, numbers, threads=1, **options)


@pytest.mark.parametrize("method", WITHOUT_EXTRA)
def test_what_is_measured(tmp_path: Path, parts: dict, method: str):
    found = evaluated(tmp_path, parts, method)
    assert (found["method"], found["epoch"], found["n_classes"]) == (method, 12, 4)
    numbers = ["found"] if method == "hdbscan" else ["told", "estimated", "silhouette"]
    assert [result["number"] for result in found["results"]] == numbers
    first = found["results"][0]
    assert first["n_clusters"] == 4
    assert first["ari"] == 1
    assert first["transductive"]["all"] == first["transductive"]["new"] == 1
    assert all(result["seconds"] > 0 for result in found["results"])
    (tmp_path / "b.json").write_text(json.dumps(found))
    assert read_measured(tmp_path / "b.json", BASELINE) == found


def test_estimates_are_those_of_the_training_rows(tmp_path: Path, parts: dict):
    """The truth is not there; samples of the test split have no part."""
    features = parts["features"]
    for normalized in (True, False):
        features.save(tmp_path / "features.npz")
        found = estimates(tmp_path / "features.npz", normalized=normalized)
        train = features.train_mask
        X = features.features[train].astype(np.float64)
        X = X / np.linalg.norm(X, axis=1, keepdims=True) if normalized else X
        for name, estimate in ESTIMATES.items():
            assert found[name]["n_clusters"] == estimate(X, features.labels[train])
            assert found[name]["seconds"] > 0
        assert found["normalize"] == normalized
        assert found.items() >= features.metadata.items()
        (tmp_path / "e.json").write_text(json.dumps(found))
        assert read_measured(tmp_path / "e.json", declared.ESTIMATES) == found
    assert declared.ESTIMATES.keys.model_fields.keys() >= ESTIMATES.keys()


def test_methods_share_the_numbers_of_the_estimates(
    tmp_path: Path, parts: dict, monkeypatch: pytest.MonkeyPatch
):
    """Each method gets the true number and those of the file, whose seconds count."""
    parts["features"].save(tmp_path / "features.npz")
    parts["truth"].save(tmp_path / "truth.npz")
    (tmp_path / "e.json").write_text(json.dumps(make_estimates()))
    paths = [tmp_path / name for name in ("features.npz", "truth.npz", "e.json")]
    seen: list[int] = []
    for method, real in methods.NUMBER_NEEDED.items():

        def watched(X, labels, n_clusters, real=real):
            seen.append(n_clusters)
            return real(X, labels, n_clusters)

        monkeypatch.setitem(methods.NUMBER_NEEDED, method, watched)
        told, *others = evaluate_baseline(method, *paths)["results"]
        assert told["seconds"] < 100
        for result, name, n_clusters in zip(others, ESTIMATES, (5, 4), strict=True):
            assert (result["number"], result["n_clusters"]) == (name, n_clusters)
            assert 0 < result["seconds"] - 100 * n_clusters < 100
    assert seen == [4, 5, 4] * 3


def test_only_methods_that_need_a_number_need_estimates(tmp_path: Path, parts: dict):
    evaluated(tmp_path, parts, "hdbscan")
    paths = [tmp_path / name for name in ("features.npz", "truth.npz")]
    assert evaluate_baseline("hdbscan", *paths)["results"][0]["number"] == "found"
    with pytest.raises(InputError, match=r"^--estimates: missing, but this method needs a number"):
        evaluate_baseline("ward", *paths)


def test_only_unlabelled_training_samples_of_known_class_count(tmp_path: Path, parts: dict):
    features, truth = parts["features"], parts["truth"]
    rows = np.random.default_rng(0).normal(size=features.features.shape).astype(np.float32)
    features = replace(features, features=rows)
    unknown = truth.labels.copy()
    unknown[60:70] = -1
    changed = {"features": features, "truth": replace(truth, labels=unknown)}
    found = evaluated(tmp_path, changed, "ward")
    assert found["n_classes"] is None
    results = found["results"]  # nobody can tell the number
    assert [result["number"] for result in results] == ["estimated", "silhouette"]
    train = features.train_mask
    X = features.features[train].astype(np.float64)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    counted = (features.labels[train] < 0) & (unknown[train] >= 0)
    classes = unknown[train][counted]
    for result in results:
        clusters = methods.ward(X, result["n_clusters"])[counted]
        accuracy = clustering_accuracy(clusters, classes, truth.old_mask[train][counted])
        assert result["transductive"] == accuracy
        assert result["ari"] == pytest.approx(adjusted_rand_score(classes, clusters))


@pytest.mark.parametrize("method", ["kmeans", "semi_supervised_kmeans", "ward"])
def test_the_truth_tells_a_number_and_chooses_nothing(
    tmp_path: Path, parts: dict, method: str, monkeypatch: pytest.MonkeyPatch
):
    """With the truth of all unlabelled samples permuted, methods get the same arguments."""
    seen: list[tuple] = []
    real = methods.NUMBER_NEEDED[method]

    def watched(X, labels, n_clusters):
        seen.append((X.tobytes(), labels.tobytes(), n_clusters))
        return real(X, labels, n_clusters)

    monkeypatch.setitem(methods.NUMBER_NEEDED, method, watched)
    truth, labels = parts["truth"], parts["features"].labels
    first = evaluated(tmp_path, parts, method)
    order = np.flatnonzero(labels < 0)
    mixed = np.random.default_rng(0).permutation(order)
    classes, old = truth.labels.copy(), truth.old_mask.copy()
    classes[order], old[order] = truth.labels[mixed], truth.old_mask[mixed]
    again = evaluated(
        tmp_path, parts | {"truth": replace(truth, labels=classes, old_mask=old)}, method
    )
    assert len(seen) == 6
    assert seen[:3] == seen[3:]
    assert seen[0][2] == 4
    assert first["results"][0]["ari"] > again["results"][0]["ari"]


def test_labels_of_hidden_samples_reach_no_method(tmp_path: Path, parts: dict, monkeypatch):
    def watched(X, labels, threads):
        train = parts["features"].train_mask
        np.testing.assert_array_equal(labels, parts["features"].labels[train])
        return methods.DensityClusters(np.zeros(len(X), dtype=np.int64), 5, 0.0)

    monkeypatch.setitem(methods.NUMBER_FOUND, "hdbscan", watched)
    found = evaluated(tmp_path, parts, "hdbscan")["results"][0]
    assert (found["number"], found["n_clusters"], found["min_cluster_size"]) == ("found", 1, 5)


def test_rows_are_what_ssddbc_sees(tmp_path: Path, parts: dict, monkeypatch):
    lengths = []

    def watched(X, labels, n_clusters):
        lengths.append(np.linalg.norm(X, axis=1))
        return methods.ward(X, n_clusters)

    monkeypatch.setitem(methods.NUMBER_NEEDED, "ward", watched)
    evaluated(tmp_path, parts, "ward")
    evaluated(tmp_path, parts, "ward", normalized=False)
    np.testing.assert_allclose(lengths[0], 1)
    own = np.linalg.norm(parts["features"].features[:90].astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths[3], own)


@pytest.mark.parametrize("labelled", ["none", "all"])
def test_labels_are_needed_and_not_of_all(tmp_path: Path, parts: dict, labelled: str):
    features, truth = parts["features"], parts["truth"]
    labels = np.full(120, -1) if labelled == "none" else truth.labels
    changed = {"features": replace(features, labels=labels), "truth": truth}
    count = {"none": 0, "all": 90}[labelled]
    with pytest.raises(InputError, match=f"{count} of 90 training samples are labelled, expected"):
        evaluated(tmp_path, changed, "kmeans")
    with pytest.raises(InputError, match=f"{count} of 90 training samples are labelled, expected"):
        estimates(tmp_path / "features.npz")


@pytest.mark.parametrize("method", methods.NUMBER_NEEDED)
def test_more_classes_than_training_samples_are_refused(tmp_path: Path, parts: dict, method: str):
    features = parts["features"]
    few = np.zeros(len(features.indices), bool)
    few[np.flatnonzero(features.labels >= 0)[:1]] = True
    few[np.flatnonzero(features.train_mask & (features.labels < 0))[:2]] = True
    parts["features"] = replace(features, train_mask=few)
    message = r"truth\.npz: has 4 classes, but .*features\.npz has only 3 training samples"
    with pytest.raises(InputError, match=message):
        evaluated(tmp_path, parts, method)


def test_another_truth_is_refused(tmp_path: Path, parts: dict):
    truth = parts["truth"]
    other = replace(truth, labels=(truth.labels + 1) % 4, old_mask=(truth.labels + 1) % 4 < 2)
    with pytest.raises(InputError, match=r"truth\.npz: .* labelled samples have another class"):
        evaluated(tmp_path, parts | {"truth": other}, "kmeans")


def test_by_hand(tmp_path: Path, parts: dict):
    parts["features"].save(tmp_path / "features.npz")

    def call(stage: str, *arguments: str) -> subprocess.CompletedProcess:
        features = ("--features", "features.npz", "--threads", "1")
        return in_process(stage, *arguments, *features, cwd=tmp_path)

    def run(method: str) -> subprocess.CompletedProcess:
        files = ("--truth", "truth.npz", "--estimates", "e.json", "--output", "b.json")
        return call("baseline", "--method", method, *files)

    done = call("estimate", "--output", "e.json")  # where no truth is
    assert done.returncode == 0, done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.search(r"e\.json: \d+ clusters \(estimated\), .* s; 4 clusters \(silhouette\)", last)
    parts["truth"].save(tmp_path / "truth.npz")
    done = run("kmeans")
    assert done.returncode == 0, done.stderr
    assert "b.json: 4 clusters (told), accuracy 100.0, " in done.stderr.splitlines()[-1]
    assert read_measured(tmp_path / "b.json", BASELINE)["results"][0]["number"] == "told"
    assert run("kmedians").returncode == 2
    Features.load(tmp_path / "features.npz")
    Truth.load(tmp_path / "truth.npz")
    (tmp_path / "truth.npz").unlink()
    failed = run("kmeans")
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "baseline.py: error: truth.npz" in failed.stderr

"""The clustering stage around SSDDBC: what goes in, what comes out, what is written."""

import csv
import json
import logging
import re
from dataclasses import replace

import numpy as np
import pytest
from gcdflow import __version__, progress
from gcdflow.clustering import search as clustering
from gcdflow.clustering.heatmap import read_grid_table
from gcdflow.clustering.matching import label_change_rate
from gcdflow.clustering.search import (
    cluster_features,
    n_clusters_over_label_draws,
    pseudo_label_scalars,
    write_grid_table,
)
from gcdflow.config.ranges import parse_range
from gcdflow.config.settings import ClusteringSettings
from gcdflow.errors import InputError
from gcdflow.files import declared
from gcdflow.files.formats import Features, PseudoLabels
from gcdflow.ssddbc import _recall, core_neighbours
from gcdflow.ssddbc._gpu import Gpu
from ssddbc.reference import fit_configuration, normalise

GRID = ClusteringSettings(k="3,5", percentile="40,70", w_mod=0.0, merge_by_class=False)


def blobs(n: int = 48, seed: int = 0, **changes) -> Features:
    """Four blobs; every fourth sample is for testing, some of the first two classes labelled."""
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % 4 if n % 4 else np.repeat(np.arange(4), n // 4)
    train = np.arange(n) % 4 != 3
    labelled = train & (classes < 2) & (rng.random(n) < 0.5)
    arrays = {
        "indices": rng.permutation(1000)[:n],
        "features": (5 * np.eye(4, 6)[classes] + rng.normal(0, 0.7, (n, 6))).astype(np.float32),
        "labels": np.where(labelled, classes, -1),
        "train_mask": train,
        "metadata": {"checkpoint": "ckpt_epoch050.pt", "checkpoint_sha256": "1f", "epoch": 50},
    }
    return Features(**(arrays | changes))


@pytest.fixture(scope="module")
def clustered() -> tuple[PseudoLabels, dict]:
    return cluster_features(blobs(), GRID, threads=1)


def naive_grid(features: Features, normalize: bool = True) -> list[tuple[int, int, object]]:
    train = features.train_mask
    rows = features.features[train].astype(np.float64)
    rows = normalise(rows) if normalize else rows
    return [
        (k, p, fit_configuration(rows, features.labels[train], k, p))
        for k in parse_range(GRID.k)
        for p in parse_range(GRID.percentile)
    ]


@pytest.mark.parametrize("normalize", [True, False])
def test_best_of_the_grid_against_the_reference(normalize):
    features = blobs()
    grid = GRID.model_copy(update={"normalize": normalize})
    pseudo, results = cluster_features(features, grid, threads=1)
    naive = naive_grid(features, normalize)
    np.testing.assert_allclose(results["score"], [r.score for _, _, r in naive], atol=1e-9)
    k, p, best = max(naive, key=lambda row: row[2].score)  # the first of the best
    assert pseudo.best_params == {"k": k, "density_percentile": p}
    np.testing.assert_array_equal(pseudo.labels, best.labels)
    np.testing.assert_array_equal(pseudo.core_mask, best.core_mask)
    np.testing.assert_allclose(pseudo.densities, best.densities, rtol=1e-6)
    assert pseudo.metadata["score"] == pytest.approx(best.score)
    assert pseudo.metadata["cross_entropy"] == pytest.approx(best.cross_entropy)
    assert pseudo.metadata["silhouette"] == pytest.approx(best.silhouette)
    assert pseudo.metadata["modularity"] == pytest.approx(best.modularity)
    assert pseudo.metadata["w_mod"] == 0
    assert pseudo.metadata["n_clusters"] == best.n_clusters == pseudo.n_clusters
    assert pseudo.metadata["core_ratio"] == best.core_mask.mean()
    assert pseudo.metadata["normalize"] is normalize


def test_weights_of_the_score():
    grid = GRID.model_copy(update={"w_ce": 2.0, "w_sil": 0.5, "w_mod": 1.5})
    pseudo, results = cluster_features(blobs(), grid, threads=1)
    expected = -2 * results["cross_entropy"] + 0.5 * results["silhouette"]
    np.testing.assert_allclose(results["score"], expected + 1.5 * results["modularity"])
    assert pseudo.metadata["w_mod"] == 1.5


def test_test_samples_are_not_seen(clustered):
    features = blobs()
    pseudo, _ = clustered
    np.testing.assert_array_equal(pseudo.indices, features.indices[features.train_mask])
    noisy = features.features.copy()
    noisy[~features.train_mask] = 1e3
    again, _ = cluster_features(blobs(features=noisy), GRID, threads=1)
    np.testing.assert_array_equal(again.labels, pseudo.labels)
    assert again.metadata == pseudo.metadata


def test_written_pseudo_labels_are_complete(tmp_path, clustered):
    pseudo, _ = clustered
    pseudo.save(tmp_path / "p.npz")
    loaded = PseudoLabels.load(tmp_path / "p.npz")
    assert loaded.best_params == pseudo.best_params
    assert loaded.metadata == pseudo.metadata
    with np.load(tmp_path / "p.npz") as archive:
        dtypes = {name: archive[name].dtype.name for name in archive.files}
    texts = {"best_params", "metadata"}
    assert {k: v for k, v in dtypes.items() if k not in texts} == {
        "indices": "int64",
        "labels": "int64",
        "core_mask": "bool",
        "densities": "float32",
        "neighbours": "int64",
    }
    assert all(dtypes[name].startswith("str") for name in texts)


def test_provenance(clustered):
    metadata = clustered[0].metadata
    assert metadata["checkpoint"] == "ckpt_epoch050.pt"
    assert metadata["checkpoint_sha256"] == "1f"
    assert metadata["version"] == __version__
    assert metadata["label_change_rate"] is None
    assert metadata["agreement"] is None
    assert metadata["n_samples"] == 36


def test_metadata_from_elsewhere_does_not_replace_our_own():
    features = blobs(metadata={"score": "very good", "author": "someone"})
    pseudo, _ = cluster_features(features, GRID, threads=1)
    assert isinstance(pseudo.metadata["score"], float)
    assert pseudo.metadata["author"] == "someone"


def test_threads_change_no_byte(tmp_path, clustered):
    other, _ = cluster_features(blobs(), GRID, threads=2)
    clustered[0].save(tmp_path / "1.npz")
    other.save(tmp_path / "2.npz")
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()


def test_change_against_the_previous_refresh(clustered):
    pseudo, _ = clustered
    order = np.random.default_rng(0).permutation(len(pseudo.labels))
    labels = pseudo.labels.copy()
    labels[labels == 1] = 0
    _, labels = np.unique(labels, return_inverse=True)
    previous = replace(pseudo, indices=pseudo.indices[order], labels=labels[order])
    again, _ = cluster_features(blobs(), GRID, threads=1, previous=previous)
    expected = label_change_rate(pseudo.labels, labels)
    assert expected > 0
    assert again.metadata["label_change_rate"] == expected
    same, _ = cluster_features(blobs(), GRID, threads=1, previous=pseudo)
    assert same.metadata["label_change_rate"] == 0
    assert 0 < again.metadata["agreement"] < 1
    assert same.metadata["agreement"] == 1


def test_agreement_is_the_adjusted_rand_index():
    """Of 6 pairs, 2 are together in one clustering, 1 in the other, and that in both."""
    found = clustering._comparisons(
        np.array([0, 0, 1, 1]), np.full(4, -1), before=np.array([1, 1, 0, 2])
    )
    by_chance = 2 * 1 / 6
    expected = (1 - by_chance) / ((2 + 1) / 2 - by_chance)
    assert found["agreement"] == pytest.approx(expected) == pytest.approx(4 / 7)
    assert found["against_labels"] is None


def test_clusters_against_the_labels_are_said(clustered, caplog):
    """Labels of two classes that alternate within each blob, whose clusters mix them."""
    features, (pseudo, _) = blobs(), clustered
    assert pseudo.metadata["against_labels"] == 0
    labels = np.where(features.train_mask, np.arange(48) // 4 % 2, -1)
    mixed, _ = cluster_features(
        replace(features, labels=labels),
        GRID.model_copy(update={"w_ce": 0.0}),
        threads=1,
        previous=pseudo,
    )
    at = labels[features.train_mask]
    cells = [at[mixed.labels == cluster] for cluster in range(mixed.n_clusters)]
    against = sum(min((cell == 0).sum(), (cell == 1).sum()) for cell in cells)
    assert against > 4
    assert mixed.metadata["against_labels"] == against / 36
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warned[0].startswith(
        f"the clusters contradict the labels: {against} of 36 labelled samples are in a"
    )


def test_only_a_grid_that_somebody_set_is_to_be_widened(monkeypatch, caplog):
    asked = []
    monkeypatch.setattr(clustering, "edges_of_grid", lambda *given: asked.append(given[0]) or [])
    grid = ClusteringSettings(k="3:5", w_mod=0.0)
    cluster_features(blobs(), grid, threads=1)
    assert [set(best) for best in asked] == [{"k"}]


def test_guidance_that_made_it_worse_is_said_even_after_an_older_file(clustered, caplog):
    """The share of the refresh before, which older files lack, is counted from its clusters."""
    features, (pseudo, _) = blobs(), clustered
    apart = replace(pseudo, labels=np.arange(len(pseudo.labels)), metadata={})  # nothing against
    labels = np.where(features.train_mask, np.arange(48) // 4 % 2, -1)
    mixed, _ = cluster_features(
        replace(features, labels=labels),
        GRID.model_copy(update={"w_ce": 0.0}),
        threads=1,
        previous=apart,
    )
    against = round(36 * mixed.metadata["against_labels"])
    assert (
        f"made it worse: labelled samples in a cluster where another class prevails rose from "
        f"0 to {against} of 36" in caplog.text
    )


def test_previous_of_other_samples(clustered):
    previous = replace(clustered[0], indices=clustered[0].indices + 1)
    with pytest.raises(InputError, match=r"previous pseudo labels: \d+ of 36 expected samples are"):
        cluster_features(blobs(), GRID, threads=1, previous=previous)
    fewer = blobs()
    fewer.train_mask[np.flatnonzero(fewer.train_mask)[0]] = False
    with pytest.raises(
        InputError, match="previous pseudo labels: 1 of 36 expected samples are miss"
    ):
        cluster_features(fewer, GRID, threads=1, previous=clustered[0])


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_samples(n):
    features = blobs(train_mask=np.arange(48) < n)
    with pytest.raises(InputError, match=f"found {n} training samples to cluster, expected at lea"):
        cluster_features(features, GRID, threads=1)


def test_grid_table(tmp_path, clustered):
    _, results = clustered
    write_grid_table(tmp_path / "g.tsv", results)
    with open(tmp_path / "g.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert tuple(rows[0]) == declared.GRID.columns()
    assert [(int(r["k"]), int(r["density_percentile"])) for r in rows] == [
        (k, p) for k in parse_range(GRID.k) for p in parse_range(GRID.percentile)
    ]
    for column in ("score", "cutoff", "core_ratio"):
        np.testing.assert_allclose([float(r[column]) for r in rows], results[column], rtol=1e-5)
    assert [int(r["n_clusters"]) for r in rows] == results["n_clusters"].tolist()
    assert "\r" not in (tmp_path / "g.tsv").read_text()


def test_scores_that_differ_little_stay_different(tmp_path, clustered):
    scores = np.array([0.12345671, 0.12345679, 0.1, 0.1])
    write_grid_table(tmp_path / "g.tsv", clustered[1] | {"score": scores})
    assert read_grid_table(tmp_path / "g.tsv")["score"].tolist() == scores.tolist()


def test_scalars_for_tensorboard(clustered):
    scalars = pseudo_label_scalars(clustered[0])
    assert scalars.keys() == {
        f"pseudo/{name}"
        for name in ("n_clusters", "core_ratio", "label_change_rate", "k", "density_percentile")
    } | {"pseudo/score", "pseudo/agreement", "pseudo/against_labels"}
    assert scalars["pseudo/label_change_rate"] is scalars["pseudo/agreement"] is None
    assert scalars["pseudo/against_labels"] == 0
    assert json.loads(json.dumps(scalars)) == scalars


def test_a_long_search_says_how_far_it_is(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    cluster_features(blobs(), GRID, threads=1)
    assert not [m for m in caplog.messages if "/4 configurations" in m], "a short one needs none"
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_REPORTS", 0.0)
    cluster_features(blobs(), GRID, threads=1)
    said = [re.fullmatch(r"(\d)/4 configurations, .+ left", m) for m in caplog.messages]
    done = [int(match[1]) for match in said if match]
    assert done == sorted(done)
    assert {1, 2} <= set(done) <= {1, 2, 3}


def test_what_does_not_fit_into_memory_is_refused_before_work_starts(monkeypatch):
    monkeypatch.setattr(clustering, "available_memory", lambda: 2**20)
    with pytest.raises(InputError, match=r"36 samples of \d+ dim.* GiB are free"):
        cluster_features(blobs(), GRID, threads=1)


def test_exact_results_say_nothing_new(clustered):
    pseudo, results = clustered
    assert not {"neighbours", "recall"} & pseudo.metadata.keys()
    assert (results["silhouette_error"] == 0).all()


def many(seed: int = 0) -> Features:
    """Samples without any structure: their neighbours lie in many cells."""
    n, rng = 3000, np.random.default_rng(seed)
    return Features(
        indices=np.arange(n),
        features=rng.normal(size=(n, 40)).astype(np.float32),
        labels=np.full(n, -1),
        train_mask=np.ones(n, bool),
        metadata={},
    )


def test_approximate_neighbours_are_said_with_their_recall(tmp_path, caplog):
    pytest.importorskip("faiss")
    caplog.set_level(logging.INFO)
    pseudo, _ = cluster_features(
        many(), GRID.model_copy(update={"neighbours": "approximate"}), threads=1
    )
    assert pseudo.metadata["neighbours"] == "approximate"
    assert pseudo.metadata["recall"] >= 0.98
    assert "and approximate neighbours" in caplog.messages[0]
    assert f"{pseudo.metadata['recall']:.2%} of the exact ones were found" in caplog.text
    assert "WARNING" not in caplog.text
    pseudo.save(tmp_path / "p.npz")
    assert PseudoLabels.load(tmp_path / "p.npz").metadata["recall"] == pseudo.metadata["recall"]


def test_a_low_recall_is_a_warning(monkeypatch, caplog):
    pytest.importorskip("faiss")
    monkeypatch.setattr(_recall, "LARGEST_REACH", 1.0)
    grid = GRID.model_copy(update={"neighbours": "approximate"})
    pseudo, _ = cluster_features(many(), grid, threads=1)
    assert pseudo.metadata["recall"] < 0.9
    (warning,) = (r for r in caplog.records if "of the exact neighbours" in r.getMessage())
    assert warning.levelno == logging.WARNING
    assert "expected at least 98%" in warning.getMessage()


def test_a_gpu_that_has_little_to_do_is_said(monkeypatch, caplog):
    pytest.importorskip("faiss")
    monkeypatch.setattr("gcdflow.ssddbc._gpu.check_torch", lambda device: None)
    holding = Gpu.holding
    monkeypatch.setattr(Gpu, "holding", lambda work, squares, _: holding(work, squares, "cpu"))
    caplog.set_level("INFO")
    for neighbours, warnings in (("exact", 0), ("approximate", 1)):
        caplog.clear()
        grid = GRID.model_copy(update={"neighbours": neighbours})
        cluster_features(blobs(), grid, threads=1, device="cuda")
        assert "less than" in caplog.messages[0]
        assert sum("the GPU has little to do" in message for message in caplog.messages) == warnings


def test_the_number_of_labels_is_said(caplog):
    """A file whose labels are called otherwise is clustered without them, but not in silence."""
    caplog.set_level(logging.INFO)
    features = blobs()
    labelled = int((features.labels[features.train_mask] >= 0).sum())
    assert labelled > 0
    for labels, n in ((features.labels, labelled), (np.full_like(features.labels, -1), 0)):
        caplog.clear()
        cluster_features(replace(features, labels=labels), GRID, threads=1)
        assert f"36 samples of 6 dimensions, {n} of them labelled, need" in caplog.messages[0]
        assert "GiB and" in caplog.messages[0]


@pytest.mark.parametrize("normalize", [True, False])
def test_neighbours_of_pseudo_labels(normalize: bool):
    """Labels alternate within each blob; rows that are not normalised have other neighbours."""
    features = blobs()
    lengths = np.random.default_rng(1).uniform(0.2, 5, (48, 1)).astype(np.float32)
    labels = np.where(features.train_mask, np.arange(48) // 4 % 2, -1)
    features = replace(features, features=features.features * lengths, labels=labels)
    grid = GRID.model_copy(update={"normalize": normalize, "w_ce": 0.0})
    pseudo, _ = cluster_features(features, grid, threads=1)
    rows, y = (array[features.train_mask] for array in (features.features, labels))
    expected = core_neighbours(
        rows, pseudo.core_mask, pseudo.labels, y, n_neighbors=10, normalize=normalize
    )
    np.testing.assert_array_equal(pseudo.neighbours, expected)
    for other in ({"normalize": not normalize}, {"y": None}):
        given = {"y": y, "normalize": normalize, "n_neighbors": 10} | other
        assert (core_neighbours(rows, pseudo.core_mask, pseudo.labels, **given) != expected).any()


def test_draws_of_labels_merge_by_the_labels_that_are_drawn(monkeypatch):
    seen, clusters = [], clustering._clusters

    def watched(found, y, grid):
        seen.append(y)
        return clusters(found, y, grid)

    monkeypatch.setattr(clustering, "_clusters", watched)
    features = blobs()
    n_clusters_over_label_draws(features, GRID, 3, threads=1)
    labels = features.labels[features.train_mask]
    assert len(seen) == 3
    for y in seen:
        assert ((y == labels) | (y == -1)).all()
        assert (y >= 0).sum() < (labels >= 0).sum()

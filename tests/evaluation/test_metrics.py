"""Evaluation of one refresh against a direct computation from the definition."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from gcdflow.clustering import search
from gcdflow.config.settings import ClusteringSettings
from gcdflow.evaluation.metrics import accuracy_scalars, evaluate
from gcdflow.files.formats import Classes, Features, PseudoLabels, Truth
from sklearn.metrics import adjusted_rand_score

N, N_TRAIN = 60, 44
SHA = {"checkpoint_sha256": "1f", "fingerprint": "2e"}


@pytest.fixture
def files(tmp_path):
    """Random features, clusters and classes; two of the four classes are old."""
    rng = np.random.default_rng(0)
    indices = rng.permutation(500)[:N]
    classes = rng.integers(0, 4, N)
    train = np.arange(N) < N_TRAIN
    labelled = train & (classes < 2) & (rng.random(N) < 0.5)
    rows = rng.normal(0, 1, (N, 5)).astype(np.float32) * rng.uniform(0.1, 9, (N, 1))
    features = Features(
        indices=indices,
        features=rows.astype(np.float32),
        labels=np.where(labelled, classes, -1),
        train_mask=train,
        metadata=SHA | {"epoch": 7},
    )
    order = rng.permutation(N_TRAIN)
    labels = np.where(rng.random(N_TRAIN) < 0.7, classes[:N_TRAIN], rng.integers(0, 5, N_TRAIN))
    pseudo = PseudoLabels(
        indices=indices[:N_TRAIN][order],
        labels=labels[order],
        core_mask=rng.random(N_TRAIN) < 0.6,
        densities=np.ones(N_TRAIN, np.float32),
        neighbours=np.empty((N_TRAIN, 0), np.int64),
        best_params={"k": 3, "density_percentile": 40},
        metadata=SHA | {"label_change_rate": 0.25, "agreement": 0.75, "normalize": True},
    )
    mixed = rng.permutation(N)
    truth = Truth(indices[mixed], classes[mixed], classes[mixed] < 2, np.array(list("abcd")))
    return tmp_path, features, pseudo, truth


def evaluated(files, label_draws=0, grid=None, **changes):
    folder, features, pseudo, truth = files
    values = {"features": features, "pseudo": pseudo, "truth": truth} | changes
    paths = [folder / f"{name}.npz" for name in values]
    for path, value in zip(paths, values.values(), strict=True):
        value.save(path)
    return evaluate(*paths, threads=1, label_draws=label_draws, grid=grid)


def accuracies(clusters, classes, old) -> dict[str, float]:
    """Accuracies of the best assignment of up to five clusters, found by trying all of them."""
    tried = [
        np.array(assigned)[clusters] == classes
        for assigned in itertools.permutations([0, 1, 2, 3, -1])
    ]
    right = max(tried, key=lambda hits: (hits.sum(), hits[old].sum()))
    return {"all": right.mean(), "old": right[old].mean(), "new": right[~old].mean()}


def naive_ari(clusters, classes) -> float:
    """Adjusted Rand index from its definition, over all pairs of samples."""
    pairs = list(itertools.combinations(range(len(clusters)), 2))
    same = np.array([clusters[i] == clusters[j] for i, j in pairs])
    true = np.array([classes[i] == classes[j] for i, j in pairs])
    expected = same.sum() * true.sum() / len(pairs)
    return ((same & true).sum() - expected) / ((same.sum() + true.sum()) / 2 - expected)


def by_id(indices, values) -> dict:
    return dict(zip(indices.tolist(), values.tolist(), strict=True))


def step_6(test_rows, core_rows, core_labels):
    """Cluster with the smallest mean distance to its 3 nearest core members."""
    found = []
    for row in test_rows:
        distance = np.linalg.norm(core_rows - row, axis=1)
        means = {c: np.sort(distance[core_labels == c])[:3].mean() for c in np.unique(core_labels)}
        found.append(min(means, key=means.get))
    return np.array(found)


@pytest.mark.parametrize("normalize", [True, False])
def test_against_the_definition(files, normalize):
    _, features, pseudo, truth = files
    pseudo = replace(pseudo, metadata=pseudo.metadata | {"normalize": normalize})
    metrics = evaluated(files, pseudo=pseudo)

    class_of, cluster_of = by_id(truth.indices, truth.labels), by_id(pseudo.indices, pseudo.labels)
    unlabelled = features.indices[features.train_mask & (features.labels == -1)].tolist()
    classes = np.array([class_of[i] for i in unlabelled])
    clusters = np.array([cluster_of[i] for i in unlabelled])
    expected = accuracies(clusters, classes, classes < 2)
    assert {k: metrics["transductive"][k] for k in expected} == pytest.approx(expected)
    assert metrics["ari"] == pytest.approx(naive_ari(clusters, classes))

    rows = features.features.astype(np.float64)
    if normalize:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    row_of = dict(zip(features.indices.tolist(), rows, strict=True))
    core = pseudo.core_mask
    core_rows = np.array([row_of[i] for i in pseudo.indices[core].tolist()])
    test = ~features.train_mask
    clusters = step_6(rows[test], core_rows, pseudo.labels[core])
    classes = np.array([class_of[i] for i in features.indices[test].tolist()])
    expected = accuracies(clusters, classes, classes < 2)
    assert {k: metrics["inductive"][k] for k in expected} == pytest.approx(expected)

    assert metrics["epoch"] == 7
    assert metrics["n_clusters"] == 5
    assert metrics["n_classes"] == 4
    assert metrics["core_ratio"] == core.mean()
    assert metrics["label_change_rate"] == 0.25
    assert metrics["agreement"] == 0.75
    assert metrics["against_labels"] is None  # as in files from before it was counted
    units = features.features / np.linalg.norm(features.features, axis=1, keepdims=True)
    assert metrics["mean_cosine"] == pytest.approx((units @ units.T).mean(), abs=1e-6)
    names = {"all", "old", "new", "all_v1", "old_v1", "new_v1"}
    assert names <= metrics["transductive"].keys()
    assert names <= metrics["inductive"].keys()


def test_features_of_one_direction_have_a_cosine_of_one(files):
    features = files[1]
    lengths = np.linspace(1, 7, N, dtype=np.float32)[:, None]
    alike = replace(features, features=lengths * np.float32([0.3, -0.1, 0.7, 0.2, 0.9]))
    assert evaluated(files, features=alike)["mean_cosine"] == pytest.approx(1, abs=1e-6)
    assert evaluated(files, features=alike)["mean_cosine"] <= 1
    zero = replace(features, features=np.zeros_like(features.features))
    assert zero.mean_cosine == 0


def test_labelled_samples_do_not_count(files):
    _, features, pseudo, _ = files
    expected = evaluated(files)["transductive"]
    shown = features.indices[features.labels >= 0]
    spoilt = np.where(np.isin(pseudo.indices, shown), 4, pseudo.labels)
    changed = replace(pseudo, labels=spoilt)
    assert evaluated(files, pseudo=changed)["transductive"] == expected


def test_perfect_clusters(files):
    _, _, pseudo, truth = files
    class_of = by_id(truth.indices, truth.labels)
    renamed = np.array([3 - class_of[i] for i in pseudo.indices.tolist()])
    metrics = evaluated(files, pseudo=replace(pseudo, labels=renamed))
    assert set(metrics["transductive"].values()) == {1.0}
    assert metrics["ari"] == 1


def test_without_test_samples(files):
    _, features, _, _ = files
    train = features.train_mask
    cut = replace(
        features,
        **{k: getattr(features, k)[train] for k in ("indices", "features", "labels", "train_mask")},
    )
    metrics = evaluated(files, features=cut)
    assert set(metrics["inductive"].values()) == {None}
    assert metrics["transductive"]["all"] > 0


def test_scalars_for_tensorboard(files):
    metrics = evaluated(files)
    scalars = accuracy_scalars(metrics)
    assert list(scalars) == [
        f"{kind}_acc_{part}" for kind in ("val", "test") for part in ("old", "new", "all")
    ]
    assert scalars["val_acc_new"] == metrics["transductive"]["new"]
    assert scalars["test_acc_all"] == metrics["inductive"]["all"]


def test_a_classifier_is_measured_beside_the_clusters(files):
    _, features, _, truth = files
    rng = np.random.default_rng(3)
    class_of = by_id(truth.indices, truth.labels)
    true = np.array([class_of[i] for i in features.indices.tolist()])
    said = np.where(rng.random(N) < 0.6, true, rng.integers(0, 5, N))
    order = rng.permutation(N)
    classes = Classes(features.indices[order], said[order], features.metadata)
    metrics, alone = evaluated(files, classes=classes), evaluated(files)
    found = metrics.pop("classifier")
    assert found.pop("n_categories") == len(set(said[features.train_mask].tolist()))
    masks = {
        "transductive": features.train_mask & (features.labels == -1),
        "inductive": ~features.train_mask,
    }
    for kind, mask in masks.items():
        expected = accuracies(said[mask], true[mask], true[mask] < 2)
        assert {k: found[kind][k] for k in expected} == pytest.approx(expected)
    hidden = masks["transductive"]
    assert found["ari"] == pytest.approx(adjusted_rand_score(true[hidden], said[hidden]))
    assert metrics == alone  # what it is without a classifier
    scalars = accuracy_scalars(metrics | {"classifier": found})
    assert len(scalars) == 12
    assert scalars["classifier/val_acc_new"] == found["transductive"]["new"]
    assert scalars["test_acc_all"] == metrics["inductive"]["all"]


def test_samples_of_unknown_truth_do_not_count(files):
    _, features, pseudo, truth = files
    forgotten = truth.indices[np.random.default_rng(1).permutation(N)[: N // 3]]
    unknown = np.isin(truth.indices, forgotten)
    partial = replace(truth, labels=np.where(unknown, -1, truth.labels))
    kept_pseudo = ~np.isin(pseudo.indices, forgotten)
    known_only = evaluated(files, truth=partial)
    assert known_only["n_classes"] is None
    classes = dict(zip(truth.indices, truth.labels, strict=True))
    unlabelled = dict(zip(features.indices, features.labels == -1, strict=True))
    ids = [i for i in pseudo.indices[kept_pseudo] if unlabelled[i]]
    clusters = dict(zip(pseudo.indices, pseudo.labels, strict=True))
    found = np.array([clusters[i] for i in ids])
    true = np.array([classes[i] for i in ids])
    expected = accuracies(found, true, true < 2)
    assert {k: known_only["transductive"][k] for k in expected} == pytest.approx(expected)


def test_without_known_classes_accuracy_is_none(files):
    truth = replace(files[3], labels=np.full(N, -1))
    metrics = evaluated(files, truth=truth)
    assert set(metrics["transductive"].values()) == set(metrics["inductive"].values()) == {None}
    assert metrics["ari"] is None
    assert metrics["n_classes"] is None


def test_draws_of_labels_give_a_range_of_clusters(files, monkeypatch):
    _, features, _, _ = files
    grid = ClusteringSettings(k="3,5", percentile="40,70", w_mod=0.0, merge_by_class=False)
    seen = []
    plain = evaluated(files)
    assert not plain.keys() & {"label_draws", "k_range"}

    class Watched(search.SSDDBCGridSearch):
        def fit(self, X, y):
            seen.append(y)
            return super().fit(X, y)

    monkeypatch.setattr(search, "SSDDBCGridSearch", Watched)
    metrics = evaluated(files, label_draws=4, grid=grid)
    train = features.train_mask
    X, labels = features.features[train], features.labels[train]
    drawn = list(seen)
    found = [Watched(k=[3, 5], density_percentile=[40, 70]).fit(X, y) for y in drawn]
    counts = [one.n_clusters_ for one in found]
    assert metrics == plain | {"label_draws": 4, "k_range": [min(counts), max(counts)]}
    assert len({y.tobytes() for y in drawn}) == 4
    for y in drawn:
        assert ((y == labels) | (y == -1)).all()
        assert 0 < (y >= 0).sum() < (labels >= 0).sum()

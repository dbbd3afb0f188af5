"""SimGCD: its loss, its first prototypes, its segments, and what its classifier says.

See docs/contract.md, section 5.1.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gcdflow.config.settings import TrainSettings
from gcdflow.distributed.interruption import Interrupted
from gcdflow.errors import InputError
from gcdflow.files.event_log import read_scalars
from gcdflow.files.formats import Classes, PseudoLabels, Split
from gcdflow.losses.distillation import self_distillation
from gcdflow.losses.infonce import info_nce
from gcdflow.losses.mean_entropy import mean_entropy_gap
from gcdflow.losses.prototypical import prototypical
from gcdflow.losses.supcon import sup_con
from gcdflow.training.checkpoint import Checkpoint, restore_model
from gcdflow.training.classes import classify
from gcdflow.training.features import extract_features
from gcdflow.training.pseudo_targets import PseudoTargets
from gcdflow.training.segment import train_segment
from gcdflow.training.segment_files import SegmentFiles
from gcdflow.training.simgcd import SimGCD
from small_training import digest, pseudo_labels, settings, signal_at
from small_views import make, write_pictures, write_split
from small_views import settings as settings_of_views
from torch import Tensor
from torch.nn import functional as F

TOLD = {"name": "simgcd", "n_prototypes": 9, "teacher_ramp_epochs": 4}
FROM_CLUSTERS = TOLD | {"n_prototypes": None}
RESTARTED = FROM_CLUSTERS | {"restart_at_refresh": True}
HEAD = {"out_dim": None}


def told(**changes: object) -> TrainSettings:
    return settings(True, objective=TOLD, head=HEAD, **changes)  # which guides nothing


def from_clusters(guided: bool = True, **changes: object) -> TrainSettings:
    return settings(guided, objective=FROM_CLUSTERS, head=HEAD, **changes)


def train(split: Path, output: Path, stop: int, chosen: TrainSettings, **files: Path) -> Path:
    """Train a segment in this process, with one thread."""
    where = SegmentFiles(split, output, **files)
    train_segment(chosen, where, stop_at_epoch=stop, device="cpu", threads=1, num_workers=0)
    return output


@pytest.fixture(scope="module")
def begun(split_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A warm-up, and pseudo labels from which a classifier can begin."""
    folder = tmp_path_factory.mktemp("begun")
    start = train(split_path, folder / "start.pt", 3, from_clusters(guided=False))
    return {
        "resume_from": start,
        "pseudo_labels": pseudo_labels(split_path, folder / "pseudo.npz"),
    }


# -- the loss --------------------------------------------------------------------------------------


def unit_rows(n: int, d: int, seed: int) -> Tensor:
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=1)


@pytest.mark.parametrize(("epoch", "temperature"), [(1, 0.07), (3, 0.055), (5, 0.04), (9, 0.04)])
def test_how_the_loss_is_put_together(epoch: int, temperature: float):
    labels = torch.tensor([0, -1, 1, -1, 0, -1, 2, -1])
    positions = torch.tensor([6, 1, 0, 3, 4])
    chosen = told(training={"sup_con_weight": 0.4})
    z1, z2, x1, x2 = (unit_rows(5, 6, seed) for seed in range(4))
    prototypes = 3 * unit_rows(9, 6, 5)
    objective = SimGCD(chosen, labels, None)
    losses, after = objective.losses(epoch, z1, z2, positions, prototypes, (x1, x2))
    assert after is prototypes
    assert objective.schedule(epoch) == {"teacher_temperature": pytest.approx(temperature)}

    labelled, classes = [0, 2, 4], torch.tensor([2, 0, 0]).repeat(2)
    centres = prototypes / 3
    z, x = (torch.cat([one[labelled], other[labelled]]) for one, other in ((z1, z2), (x1, x2)))
    expected = {
        "L_contrast": info_nce(z1, z2, temperature=0.3),
        "L_supcon": sup_con(z, classes, temperature=0.2),
        "L_distil": self_distillation(x1, x2, centres, teacher_temperature=temperature),
        "L_entropy": mean_entropy_gap(torch.cat([x1, x2]), centres),
        "L_class": prototypical(x, classes, centres),
    }
    unsupervised = expected["L_contrast"] + expected["L_distil"] + 2 * expected["L_entropy"]
    supervised = expected["L_supcon"] + expected["L_class"]
    torch.testing.assert_close(
        losses, {"L_total": 0.6 * unsupervised + 0.4 * supervised, **expected}
    )


def test_the_ramp_begins_with_the_classifier():
    objective = SimGCD(from_clusters(), torch.tensor([0]), None)
    assert objective.teacher_temperature(4) == pytest.approx(0.07)
    assert objective.teacher_temperature(8) == pytest.approx(0.04)


# -- first prototypes ------------------------------------------------------------------------------


def targets_of(split: Split, clusters: np.ndarray, path: Path) -> tuple[np.ndarray, PseudoTargets]:
    """Clusters of the training samples in their order, and what a classifier makes of them."""
    n = len(clusters)
    PseudoLabels(
        indices=split.indices[split.train_mask],
        labels=clusters,
        core_mask=np.ones(n, dtype=bool),
        densities=np.ones(n, dtype=np.float32),
        neighbours=np.empty((n, 0), dtype=np.int64),
        best_params={},
        metadata={},
    ).save(path)
    found = PseudoTargets.for_classifier(path, split)
    labels = found.labels.numpy()
    assert (labels[~split.train_mask] == -1).all()
    return labels[split.train_mask], found


@pytest.mark.parametrize("seed", range(5))
def test_old_classes_come_first_by_the_best_matching(make_split, tmp_path: Path, seed: int):
    split, rng = make_split(80, seed=seed), np.random.default_rng(seed)
    classes = split.labels[split.train_mask]
    clusters = np.concatenate([np.arange(6), rng.integers(6, size=len(classes) - 6)])
    labels, found = targets_of(split, clusters, tmp_path / "p.npz")
    assert found.n_clusters == 6

    def hits(chosen: tuple[int, ...]) -> int:
        return sum(((classes == c) & (clusters == k)).sum() for c, k in enumerate(chosen))

    best = max(hits(chosen) for chosen in itertools.permutations(range(6), 3))
    order = [int(clusters[labels == number][0]) for number in range(6)]
    assert hits(tuple(order[:3])) == best
    assert order[3:] == sorted(set(range(6)) - set(order[:3]))
    for number, cluster in enumerate(order):  # a mere renumbering
        np.testing.assert_array_equal(labels == number, clusters == cluster)


def test_a_class_whose_cluster_is_taken_has_its_labelled_samples(make_split, tmp_path: Path):
    """Classes 0 and 1 lie in one cluster, where class 0 is more frequent."""
    classes = np.array([0, 0, 0, 0, 1, 1, 2, 2, -1, -1, -1, -1, -1, -1, -1, -1])
    clusters = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 2, 3, 2, 3, 0, 1])
    split = make_split(20)
    labels = np.full(20, -1)
    labels[split.train_mask] = classes
    split = replace(split, labels=labels, labelled_mask=labels >= 0)
    found, targets = targets_of(split, clusters, tmp_path / "p.npz")
    assert targets.n_clusters == 5
    assert found.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 0, 2, 3, 4, 3, 4, 0, 2]


def without_labels_of(split: Split, classes: list[int]) -> Split:
    shown = split.labelled_mask & ~np.isin(split.labels, classes)
    return replace(split, labelled_mask=shown, labels=np.where(shown, split.labels, -1))


def test_a_class_without_labelled_samples_has_an_empty_cluster(make_split, tmp_path: Path):
    split = without_labels_of(make_split(40), [1])
    labels, found = targets_of(split, np.arange(32) % 5, tmp_path / "p.npz")
    assert found.n_clusters == 6
    assert sorted(set(labels.tolist())) == [0, 2, 3, 4, 5]


def test_it_begins_in_a_random_direction_and_learns(split_path: Path, tmp_path: Path):
    split = without_labels_of(Split.load(split_path), [1])
    split.save(tmp_path / "split.npz")
    start = train(tmp_path / "split.npz", tmp_path / "start.pt", 3, from_clusters(guided=False))
    labels = pseudo_labels(tmp_path / "split.npz", tmp_path / "p.npz")
    files = {"resume_from": start, "pseudo_labels": labels}
    paths = [
        train(tmp_path / "split.npz", tmp_path / f"{i}.pt", 6, from_clusters(), **files)
        for i in range(2)
    ]
    assert digest(paths[0]) == digest(paths[1])
    prototypes = Checkpoint.load(paths[0]).prototypes
    assert prototypes.isfinite().all()
    assert prototypes[1].norm() == pytest.approx(1, abs=0.1)


def test_one_cluster_of_nothing_labelled_teaches_nothing(
    split_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    split = replace(
        without_labels_of(Split.load(split_path), [0, 1, 2, 3, 4]),
        old_class_names=np.array([], dtype=np.str_),
    )
    assert not split.labelled_mask.any()
    split.save(tmp_path / "split.npz")
    start = train(tmp_path / "split.npz", tmp_path / "start.pt", 3, from_clusters(guided=False))
    labels = pseudo_labels(tmp_path / "split.npz", tmp_path / "p.npz", n_clusters=1)
    files = {"resume_from": start, "pseudo_labels": labels}
    log = tmp_path / "log"
    train(tmp_path / "split.npz", tmp_path / "end.pt", 4, from_clusters(), log_dir=log, **files)
    assert "has one cluster only; this segment has a classifier of one category" in caplog.text
    curves = read_scalars(log)
    for tag in ("L_distil", "L_entropy", "L_class"):
        assert [value for _, value in curves[tag]][-1] == pytest.approx(0, abs=1e-6)


def test_they_are_the_mean_features_of_clusters(split_path: Path, begun: dict, tmp_path: Path):
    """Trained with a learning rate of almost nothing, they stay what they were."""
    still = {"lr": 1e-30, "weight_decay": 0.0}
    start = train(split_path, tmp_path / "start.pt", 3, from_clusters(guided=False, training=still))
    options = {"resume_from": start, "pseudo_labels": begun["pseudo_labels"]}
    path = train(split_path, tmp_path / "c.pt", 4, from_clusters(training=still), **options)
    split = Split.load(split_path)
    features = extract_features(start, split_path, device="cpu", threads=1)
    unit = features.features / np.linalg.norm(features.features, axis=1, keepdims=True)
    targets = PseudoTargets.for_classifier(begun["pseudo_labels"], split)
    means = [unit[(targets.labels == k).numpy()].mean(axis=0) for k in range(targets.n_clusters)]
    expected = np.stack([mean / np.linalg.norm(mean) for mean in means])
    found = Checkpoint.load(path).prototypes.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


# -- segments --------------------------------------------------------------------------------------


def test_a_told_number_in_one_go_equals_segments(split_path: Path, tmp_path: Path):
    log = tmp_path / "log"
    whole = train(split_path, tmp_path / "whole.pt", 6, told(), log_dir=log)
    first = train(split_path, tmp_path / "first.pt", 1, told())
    second = train(split_path, tmp_path / "second.pt", 3, told(), resume_from=first)
    end = train(split_path, tmp_path / "end.pt", 6, told(), resume_from=second)
    assert digest(whole) == digest(end)
    assert digest(first) != digest(second)
    prototypes = [Checkpoint.load(path).prototypes for path in (first, second, end)]
    assert all(table.shape == (9, 16) for table in prototypes)
    assert not torch.equal(prototypes[0], prototypes[1])
    curves = read_scalars(log)
    assert "gamma" not in curves
    assert [value for _, value in curves["teacher_temperature"]][::4] == pytest.approx([0.07, 0.04])
    for tag in ("L_distil", "L_class", "L_contrast", "L_supcon"):
        first_value, *_, last = (value for _, value in curves[tag])
        assert last < first_value, tag


def test_a_start_from_clusters_in_one_go_equals_segments(
    split_path: Path, tmp_path: Path, begun: dict
):
    whole = train(split_path, tmp_path / "whole.pt", 9, from_clusters(), **begun)
    middle = train(split_path, tmp_path / "middle.pt", 4, from_clusters(), **begun)
    labels = {"pseudo_labels": begun["pseudo_labels"]}
    end = train(split_path, tmp_path / "end.pt", 9, from_clusters(), resume_from=middle, **labels)
    assert digest(whole) == digest(end)
    assert len(Checkpoint.load(end).prototypes) == 7
    assert restore_model(end, Checkpoint.load(end)).head.last_layer is None


def test_other_clusters_begin_again_with_their_prototypes(
    split_path: Path, tmp_path: Path, begun: dict
):
    chosen = settings(True, objective=RESTARTED, head=HEAD)
    middle = train(split_path, tmp_path / "middle.pt", 5, chosen, **begun)
    other = pseudo_labels(split_path, tmp_path / "other.npz", n_clusters=9, seed=1)
    files = {"resume_from": middle, "pseudo_labels": other}
    end = train(split_path, tmp_path / "end.pt", 8, chosen, **files)
    prototypes = [Checkpoint.load(path).prototypes for path in (middle, end)]
    targets = PseudoTargets.for_classifier(other, Split.load(split_path))
    assert [len(table) for table in prototypes] == [7, targets.n_clusters]
    # The model keeps its momenta; those of the old prototypes are dropped.
    restore_model(end, Checkpoint.load(end))
    start = train(split_path, tmp_path / "start.pt", 6, chosen, **files)
    assert digest(
        train(split_path, tmp_path / "on.pt", 8, chosen, **(files | {"resume_from": start}))
    ) == digest(end)


def test_the_warm_up_is_that_of_the_usual_objective(split_path: Path, tmp_path: Path, begun: dict):
    usual = train(split_path, tmp_path / "usual.pt", 3, settings(head=HEAD))
    assert digest(usual) == digest(begun["resume_from"])


@pytest.mark.parametrize("kind", ["told", "clusters", "other clusters"])
def test_a_signal_saves_within_the_epoch_and_nothing_is_done_twice(
    split_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, begun: dict
):
    stop, chosen, options = 3, told(), {}
    if kind == "clusters":
        stop, chosen, options = 6, from_clusters(), begun
    elif kind == "other clusters":
        middle = train(split_path, tmp_path / "m.pt", 4, from_clusters(), **begun)
        other = pseudo_labels(split_path, tmp_path / "other.npz", n_clusters=9, seed=1)
        stop, chosen = 7, from_clusters()
        options = {"resume_from": middle, "pseudo_labels": other}
    expected = digest(train(split_path, tmp_path / "calm.pt", stop, chosen, **options))
    loss = "gcdflow.training.simgcd.self_distillation"
    # In the first step, within an epoch, and at its last step.
    calls = signal_at(monkeypatch, {1, 6, 8}, loss=loss)
    for _ in range(3):
        with pytest.raises(Interrupted):
            train(split_path, tmp_path / "c.pt", stop, chosen, **options)
    train(split_path, tmp_path / "c.pt", stop, chosen, **options)
    assert len(calls) == 12
    assert digest(tmp_path / "c.pt") == expected


def test_a_bad_step_leaves_the_prototypes_alone(
    split_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    patient = told(training={"skip_bad_steps": 99})
    start = train(split_path, tmp_path / "start.pt", 0, patient)
    monkeypatch.setattr(
        "gcdflow.training.simgcd.self_distillation",
        lambda *arguments, **given: self_distillation(*arguments, **given) * float("nan"),
    )
    bad = train(split_path, tmp_path / "bad.pt", 1, patient)
    assert torch.equal(Checkpoint.load(bad).prototypes, Checkpoint.load(start).prototypes)


def test_stored_views_and_mixed_precision_are_just_as_repeatable(tmp_path: Path):
    split = write_split(write_pictures(tmp_path / "images"), tmp_path / "split.npz")
    chosen = settings_of_views(objective=TOLD, training={"mixed_precision": True})
    views = {"views": make(split, tmp_path / "views.npy", chosen)}
    whole = train(split, tmp_path / "whole.pt", 3, chosen, **views)
    first = train(split, tmp_path / "first.pt", 1, chosen, **views)
    end = train(split, tmp_path / "end.pt", 3, chosen, resume_from=first, **views)
    assert digest(whole) == digest(end)
    assert Checkpoint.load(whole).prototypes.dtype == torch.float32


# -- what does not fit -----------------------------------------------------------------------------


def test_fewer_prototypes_than_old_classes_are_refused(split_path: Path, tmp_path: Path):
    few = settings(objective={"name": "simgcd", "n_prototypes": 4})
    message = "objective.n_prototypes is 4, but the split has 5 old classes; expected one"
    with pytest.raises(InputError, match=message):
        train(split_path, tmp_path / "c.pt", 1, few)


def test_pseudo_labels_are_needed_by_a_classifier_that_begins_with_them_only(
    split_path: Path, tmp_path: Path, begun: dict
):
    start = {"resume_from": begun["resume_from"]}
    for chosen, files in ((from_clusters(), start), (told(), begun)):
        with pytest.raises(InputError, match="pseudo labels and the settings that need them bel"):
            train(split_path, tmp_path / "c.pt", 4, chosen, **files)


def test_a_classifier_does_not_join_before_the_end_of_the_warm_up(
    split_path: Path, tmp_path: Path, begun: dict
):
    early = train(split_path, tmp_path / "early.pt", 2, from_clusters(guided=False))
    with pytest.raises(InputError, match=r"early\.pt: is of epoch 2, expected 3 or more: ps"):
        train(split_path, tmp_path / "c.pt", 4, from_clusters(), **(begun | {"resume_from": early}))


def test_other_objectives_do_not_go_on_from_each_other(
    split_path: Path, tmp_path: Path, begun: dict
):
    warm_up, labels = begun["resume_from"], begun["pseudo_labels"]
    classifier = train(split_path, tmp_path / "told.pt", 3, told())
    later = train(split_path, tmp_path / "later.pt", 4, from_clusters(), **begun)
    guided = settings(True, head=HEAD)
    other = settings(objective=TOLD | {"n_prototypes": 8}, head=HEAD)
    for path, chosen, key in (
        (warm_up, told(), "objective.name = contrastive, now it is simgcd"),
        (classifier, guided, "objective.name = simgcd, now it is contrastive"),
        (classifier, from_clusters(), "objective.n_prototypes = 9, now it is None"),
        (later, guided, "objective.name = simgcd, now it is contrastive"),
        (classifier, other, "objective.n_prototypes = 9, now it is 8"),
    ):
        files = {"pseudo_labels": labels} if chosen.takes_pseudo_labels else {}
        with pytest.raises(InputError, match=key):
            train(split_path, tmp_path / "c.pt", 6, chosen, resume_from=path, **files)


@pytest.mark.parametrize(
    "prototypes", [None, torch.zeros(9, 5), torch.zeros(8, 16), torch.zeros(9, 16).int()]
)
def test_a_checkpoint_with_other_prototypes_is_refused(
    split_path: Path, tmp_path: Path, prototypes: Tensor | None
):
    checkpoint = Checkpoint.load(train(split_path, tmp_path / "c.pt", 0, told()))
    with pytest.raises(InputError, match=r"c\.pt: the stored prototypes do not fit the model"):
        restore_model("c.pt", replace(checkpoint, prototypes=prototypes))
    restore_model("c.pt", checkpoint)


# -- what the classifier says ----------------------------------------------------------------------


def test_classes_are_the_most_similar_prototypes(split_path: Path, tmp_path: Path):
    path = train(split_path, tmp_path / "c.pt", 1, told())
    features = extract_features(path, split_path, device="cpu", threads=1)
    # Prototypes at nine samples, of lengths that do not count; after one epoch all are the same.
    prototypes = features.features[:9] * np.arange(1, 10, dtype=np.float32)[::-1, None]
    replace(Checkpoint.load(path), prototypes=torch.from_numpy(prototypes)).save(path)
    features = extract_features(path, split_path, device="cpu", threads=1)
    features.save(tmp_path / "f.npz")
    classify(path, tmp_path / "f.npz").save(tmp_path / "classes.npz")
    found = Classes.load(tmp_path / "classes.npz")
    prototypes = prototypes.astype(np.float64)
    for row, label in zip(features.features, found.labels, strict=True):
        cosines = [row @ p / np.linalg.norm(row) / np.linalg.norm(p) for p in prototypes]
        assert label == np.argmax(cosines)
    np.testing.assert_array_equal(found.indices, features.indices)
    assert found.metadata == features.metadata
    assert set(found.labels.tolist()) == set(range(9))


def test_only_a_classifier_classifies(split_path: Path, tmp_path: Path, begun: dict):
    path = begun["resume_from"]
    features = extract_features(path, split_path, device="cpu", threads=1)
    features.save(tmp_path / "f.npz")
    with pytest.raises(InputError, match=r"start\.pt: has no classifier \(its objective is 'contr"):
        classify(path, tmp_path / "f.npz")
    other = train(split_path, tmp_path / "c.pt", 1, told())
    with pytest.raises(InputError, match=r"f\.npz: was made from another checkpoint than .*c\.pt"):
        classify(other, tmp_path / "f.npz")

"""Several ranks train as one process, even if segments are cut, killed or resumed."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path

import pytest
import small_views
import torch
from all_losses import settings
from forked_ranks import run_as_ranks
from gcdflow.config.settings import RunSettings, TrainSettings
from gcdflow.errors import InputError
from gcdflow.files.event_log import read_scalars
from gcdflow.losses.infonce import info_nce
from gcdflow.training.checkpoint import Checkpoint, Model
from gcdflow.training.segment import Segment, train_segment
from gcdflow.training.segment_files import SegmentFiles
from small_training import TINY, digest, pseudo_labels

N_STEPS = 4  # of an epoch


def guided_settings(loss: str) -> TrainSettings:
    if loss.startswith("simgcd"):
        objective = {"name": "simgcd", "n_prototypes": 9 if loss == "simgcd told" else None}
        changes = {"objective": objective, "schedule": TINY["schedule"]}
        if loss == "simgcd views":  # few pictures: batches of 8 are N_STEPS too
            return small_views.settings(True, **changes, training={"batch_size": 8})
        return RunSettings.model_validate({**TINY, **changes}).train_settings(True)
    chosen = settings(True)
    return chosen.model_copy(update={"pseudo": chosen.pseudo.model_copy(update={"loss": loss})})


def train(files: SegmentFiles, chosen: TrainSettings, stop: int, *, signal_at: tuple = ()) -> None:
    """Train, and write the losses of each step beside the output.

    ``signal_at`` holds a rank, the number of a call of the loss, and the signal to send then.
    """
    steps = []
    losses_of_step = Segment._losses

    def recorded(segment: Segment, *arguments: object):
        losses, prototypes = losses_of_step(segment, *arguments)
        steps.append({name: float(loss.detach()) for name, loss in losses.items()})
        if signal_at[:2] == (segment.ranks.rank, len(steps)):
            os.kill(os.getpid(), signal_at[2])
        return losses, prototypes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segment, "_losses", recorded)
        train_segment(chosen, files, stop_at_epoch=stop, device="cpu", threads=1, num_workers=0)
    assert files.output.exists()  # for every rank
    if os.environ.get("RANK", "0") == "0":
        files.output.with_suffix(".json").write_text(json.dumps(steps))


def files_of(split: Path, output: Path, **more: Path) -> SegmentFiles:
    return SegmentFiles(split, output, output.parent / f"{output.stem}-log", **more)


@pytest.fixture(scope="module")
def start(split_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A warm-up with one process, and pseudo labels for the next segment."""
    directory = tmp_path_factory.mktemp("start")
    train(files_of(split_path, directory / "start.pt"), settings(), 3)
    pseudo = pseudo_labels(split_path, directory / "pseudo.npz")
    return {"resume_from": directory / "start.pt", "pseudo_labels": pseudo}


@pytest.fixture(scope="module")
def views_start(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A split of pictures, and the same as ``start`` for it with stored views."""
    directory = tmp_path_factory.mktemp("views")
    pictures = small_views.write_pictures(directory / "images")
    split = small_views.write_split(pictures, directory / "split.npz")
    views = small_views.make(split, directory / "views.npy")
    warm_up = small_views.settings(schedule=TINY["schedule"], training={"batch_size": 8})
    train(files_of(split, directory / "start.pt", views=views), warm_up, 3)
    pseudo = pseudo_labels(split, directory / "pseudo.npz")
    start = {"resume_from": directory / "start.pt", "pseudo_labels": pseudo, "views": views}
    return split, start


@pytest.fixture
def in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models compute in float64, so only the order of sums differs and no rectifier flips."""
    built = Model.__init__

    def build(model: Model, chosen: TrainSettings) -> None:
        built(model, chosen)
        model.double()
        frozen = model.backbone.frozen
        model.backbone.frozen = lambda images: frozen(images.double())

    monkeypatch.setattr(Model, "__init__", build)


def assert_close(one: Path, other: Path, tolerance: float = 1e-10) -> None:
    """Check that weights and prototypes differ little, relative to their length."""
    a, b = Checkpoint.load(one), Checkpoint.load(other)
    pairs = {name: (a.weights[name], b.weights[name]) for name in a.weights}
    if a.prototypes is not None:
        pairs["prototypes"] = (a.prototypes, b.prototypes)
    for name, (x, y) in pairs.items():
        assert (x - y).double().norm() <= tolerance * (x.double().norm() + 1e-3), name


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *(("double", 2), ("supcon", 2), ("prototypical", 4)),
        *(("simgcd told", 4), ("simgcd", 2), ("simgcd views", 2)),
    ],
)
def test_losses_of_each_step_are_those_of_one_process(
    split_path: Path,
    start: dict,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    kind: str,
    size: int,
):
    stop, more, chosen = 2, {}, settings()
    is_double = kind in ("double", "simgcd told")
    if kind == "simgcd views":
        split_path, start = request.getfixturevalue("views_start")
    if kind in ("supcon", "prototypical", "simgcd", "simgcd views"):
        stop, more, chosen = 5, start, guided_settings(kind)
    elif kind == "simgcd told":
        chosen = guided_settings(kind)
    if is_double:
        request.getfixturevalue("in_double_precision")
    one, several = tmp_path / "one.pt", tmp_path / "several.pt"
    train(files_of(split_path, one, **more), chosen, stop)
    assert not torch.distributed.is_initialized()
    ended = run_as_ranks(size, train, files_of(split_path, several, **more), chosen, stop)
    assert ended == [0] * size

    expected, found = (json.loads(p.with_suffix(".json").read_text()) for p in (one, several))
    assert len(expected) == 2 * N_STEPS
    assert max(step["L_contrast"] for step in expected[2:]) < math.log(127) - 0.1  # no collapse
    parts = {"L_total", "L_contrast", "L_supcon"} | ({"L_pseudo"} if more else set())
    if kind.startswith("simgcd"):
        parts = (parts - {"L_pseudo"}) | {"L_distil", "L_entropy", "L_class"}
    for step, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert a.keys() == b.keys() == parts
        # In float32, rounding may switch a rectifier, and the difference persists.
        tolerance = 1e-12 if is_double else 1e-5 if step < N_STEPS else 1e-4
        # L_entropy is what two numbers of the size of 2 differ by.
        assert b == pytest.approx(a, rel=tolerance, abs=tolerance), step
    assert_close(one, several, 1e-10 if is_double else 1e-2)
    ours, theirs = read_scalars(tmp_path / "one-log"), read_scalars(tmp_path / "several-log")
    assert ours.keys() == theirs.keys()
    for tag in ours:
        assert [step for step, _ in ours[tag]] == [step for step, _ in theirs[tag]]


@pytest.mark.parametrize("loss", ["prototypical", "simgcd", "simgcd views"])
def test_the_same_ranks_give_the_same_bytes_even_if_interrupted(
    split_path: Path,
    start: dict,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    loss: str,
):
    """A signal to one rank stops all at the same step, a kill ends all; nothing is done twice."""
    chosen = guided_settings(loss)
    if loss == "simgcd views":
        split_path, start = request.getfixturevalue("views_start")
    calm, cut = (files_of(split_path, tmp_path / name, **start) for name in ("calm.pt", "cut.pt"))
    assert run_as_ranks(2, train, calm, chosen, 5) == [0, 0]
    errors = tmp_path / "errors"

    def interrupted(rank: int, step: int, signum: int) -> None:
        train(cut, chosen, 5, signal_at=(rank, step, signum))

    ended = run_as_ranks(2, interrupted, 1, 2, signal.SIGTERM, errors=errors)
    assert ended == [75, 75]
    rolling = Checkpoint.load(cut.rolling).rolling
    ended = run_as_ranks(2, interrupted, 0, 4, signal.SIGINT, errors=errors)
    assert (rolling["step"], ended) == (2, [130, 130])
    ended = run_as_ranks(2, interrupted, 1, 1, signal.SIGKILL)
    assert ended[0] > 0
    assert ended[1] == -signal.SIGKILL
    assert run_as_ranks(2, train, cut, chosen, 5) == [0, 0]
    assert digest(calm.output) == digest(cut.output)
    done = "after step {} of 4; all of it is saved, and the same call resumes from there"
    assert errors.read_text().splitlines() == [
        f"interrupted by SIGTERM in epoch 4 {done.format(2)}",
        f"interrupted by SIGINT in epoch 5 {done.format(2)}",
    ]
    assert sorted(p.name for p in cut.rolling.parent.glob("*")) == sorted(
        p.name for p in cut.rolling.parent.glob("*.done")
    )


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (4, 2)])
def test_another_number_of_ranks_resumes_within_the_epoch(
    split_path: Path,
    tmp_path: Path,
    in_double_precision: None,
    before: int,
    after: int,
):
    calm, cut = (files_of(split_path, tmp_path / name) for name in ("calm.pt", "cut.pt"))
    train(calm, settings(), 2)

    def trained(signal_at: tuple = ()) -> None:
        train(cut, settings(), 2, signal_at=signal_at)

    def ranks(n: int, *arguments: object) -> list[int]:
        return run_as_ranks(n, trained, *arguments)

    assert ranks(before, (0, 3, signal.SIGTERM)) == [75] * before
    assert Checkpoint.load(cut.rolling).rolling["step"] == 3
    assert ranks(after) == [0] * after
    assert len(json.loads(cut.output.with_suffix(".json").read_text())) == 2 * N_STEPS - 3
    assert_close(calm.output, cut.output)


def test_an_error_in_one_rank_ends_all_with_one_sentence(
    split_path: Path,
    tmp_path: Path,
):
    """Tests an error of rank 1 alone, at its second batch, and one of all ranks."""
    errors = tmp_path / "errors"

    def broken_image() -> None:
        calls, losses_of_step = [], Segment._losses

        def losses(segment: Segment, *arguments: object):
            calls.append(1)
            if segment.ranks.rank == 1 and len(calls) == 2:
                raise InputError("a.jpg: not an image")
            return losses_of_step(segment, *arguments)

        Segment._losses = losses
        train(files_of(split_path, tmp_path / "c.pt"), settings(), 3)

    ended = run_as_ranks(2, broken_image, errors=errors)
    assert ended[1] == 2
    assert ended[0] != 0
    assert errors.read_text() == "a.jpg: not an image\n"

    hot = settings(lr=1e30)
    ended = run_as_ranks(
        *(2, train, files_of(split_path, tmp_path / "d.pt"), hot, 3), errors=errors
    )
    assert ended == [2, 2]
    (sentence,) = errors.read_text().splitlines()[1:]
    assert sentence.startswith("epoch 1, step 2 of 4: the loss is not finite (L_total nan")
    assert not list(tmp_path.glob("*.pt"))


def test_all_ranks_skip_the_same_steps(
    split_path: Path,
    tmp_path: Path,
    in_double_precision: None,
    monkeypatch: pytest.MonkeyPatch,
):
    """Only one rank finds that the loss of its third step is not finite."""
    patient = settings(skip_bad_steps=1)
    calls: list[int] = []

    def loss(*arguments: object, **options: object):
        calls.append(1)
        bad = len(calls) == 3 and os.environ.get("RANK", "1") == "1"
        return info_nce(*arguments, **options) * (float("nan") if bad else 1)

    monkeypatch.setattr("gcdflow.training.objective.info_nce", loss)
    one, two = (files_of(split_path, tmp_path / name) for name in ("one.pt", "two.pt"))
    assert run_as_ranks(2, train, two, patient, 2) == [0, 0]
    train(one, patient, 2)
    assert_close(one.output, two.output)


def test_a_batch_size_must_be_a_multiple_of_the_ranks(
    split_path: Path,
    tmp_path: Path,
):
    errors = tmp_path / "errors"
    chosen = settings(batch_size=62)
    files = files_of(split_path, tmp_path / "c.pt")
    assert run_as_ranks(4, train, files, chosen, 1, errors=errors) == [2] * 4
    message = "training.batch_size is 62, of which 4 GPUs cannot have equal parts"
    assert errors.read_text().startswith(message)
    assert len(errors.read_text().splitlines()) == 1
    with pytest.raises(ValueError, match=r"of which 3 GPUs cannot .* a multiple of gpus \(3\)"):
        RunSettings.model_validate({"gpus": 3})

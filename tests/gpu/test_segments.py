"""Segments on a GPU: equal bytes, bfloat16, what the host waits for, several GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import small_training
import small_views
import torch
from gcdflow.config.settings import TrainSettings
from gcdflow.distributed.interruption import Interrupted
from gcdflow.files.atomic import canonical_json
from gcdflow.files.event_log import read_scalars
from gcdflow.training.checkpoint import Checkpoint
from gcdflow.training.segment import Segment, train_segment
from gcdflow.training.segment_files import SegmentFiles
from small_training import digest
from watched_steps import watched_steps

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
N_GPUS = torch.cuda.device_count()


@pytest.fixture(
    scope="module", params=["digits", "guided", "prototypes", "simgcd", "fresh", "stored"]
)
def job(request, split_path: Path, tmp_path_factory) -> tuple[dict, dict, int]:
    """Settings as keyword arguments of a maker, files, and an epoch to stop at."""
    folder = tmp_path_factory.mktemp(request.param)
    files: dict[str, Path] = {}
    if request.param in ("fresh", "stored"):
        tree = small_views.write_pictures(folder / "images")
        files["split"] = small_views.write_split(tree, folder / "split.npz")
        if request.param == "stored":
            files["views"] = small_views.make(files["split"], folder / "views.npy")
        views = small_views.N_VIEWS if request.param == "stored" else None
        return _settings(small_views, False, views=views), files, 2
    files["split"] = split_path
    if request.param == "digits":
        return _settings(small_training, False), files, 2
    if request.param == "simgcd":
        objective = {"name": "simgcd", "n_prototypes": 9}
        return _settings(small_training, False, objective=objective), files, 2
    files["pseudo_labels"] = small_training.pseudo_labels(split_path, folder / "pseudo.npz")
    loss = {"guided": "supcon", "prototypes": "prototypical"}[request.param]
    return _settings(small_training, True, loss=loss), files, 5


def _settings(
    module, guided: bool, loss: str = "supcon", objective: dict | None = None, **training: object
):
    changes = {"pseudo": {"loss": loss}} | ({"objective": objective} if objective else {})

    def make(**more: object) -> TrainSettings:
        return module.settings(guided, training={**training, **more}, **changes)

    return make


def train(job: tuple, output: Path, device: str, **training: object) -> Path:
    make, files, end = job
    chosen, options = make(**training), {"threads": 1, "num_workers": 0}
    start = None
    if chosen.pseudo is not None:
        start = output.with_name("start.pt")
        warm_up = chosen.model_copy(update={"pseudo": None, "warmup_epochs": None})
        begun = SegmentFiles(files["split"], start)
        train_segment(warm_up, begun, stop_at_epoch=3, device="cpu", **options)
    log_dir = output.with_name("log")
    segment = SegmentFiles(output=output, log_dir=log_dir, resume_from=start, **files)
    train_segment(chosen, segment, stop_at_epoch=end, device=device, **options)
    return output


def test_deterministic_mode_leaves_equal_bytes_also_when_cut(
    device: str, job: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one, other, cut = (tmp_path / name / "ckpt.pt" for name in ("one", "other", "cut"))
    for path in (one, other, cut):
        path.parent.mkdir()
    assert digest(train(job, one, device, deterministic=True)) == digest(
        train(job, other, device, deterministic=True)
    )
    steps = []
    train_step = Segment._train_step

    def interrupted(segment: Segment, *arguments: object) -> None:
        train_step(segment, *arguments)
        if segment.files.output == cut:
            steps.append(arguments[:2])
            if len(steps) == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Segment, "_train_step", interrupted)
    with pytest.raises(Interrupted, match="interrupted by SIGTERM"):
        train(job, cut, device, deterministic=True)
    train(job, cut, device, deterministic=True)
    assert digest(cut) == digest(one)
    assert len(steps) == len(set(steps))  # no step twice


def test_bfloat16_is_close(device: str, job: tuple, tmp_path: Path):
    plain, mixed = tmp_path / "plain" / "ckpt.pt", tmp_path / "mixed" / "ckpt.pt"
    for path in (plain, mixed):
        path.parent.mkdir()
    train(job, plain, device)
    train(job, mixed, device, mixed_precision=True)
    one, other = Checkpoint.load(plain), Checkpoint.load(mixed)
    assert one.history.keys() == other.history.keys()
    for epoch, values in one.history.items():
        for name, value in values.items():
            assert other.history[epoch][name] == pytest.approx(value, rel=0.05, abs=0.05), name
    assert all(other.weights[name].dtype == value.dtype for name, value in one.weights.items())
    assert digest(plain) != digest(mixed)


@pytest.mark.skipif(N_GPUS == 0, reason="only a GPU is waited for")
def test_the_host_waits_once_a_step(job: tuple, tmp_path: Path):
    """To see whether the loss is finite, before the weights change."""
    with watched_steps() as waits:
        train(job, tmp_path / "ckpt.pt", "cuda")
    assert len(waits) > 2
    for places in waits[-2:]:  # the first step sets libraries up
        assert len(places) == 1, places
        assert places[0].startswith("segment.py")


def run_stage(split: Path, output: Path, n_gpus: int) -> dict[str, list[tuple[int, float]]]:
    """A training in processes of their own; its curves."""
    chosen = small_training.settings(training={"deterministic": True})
    command = [
        *(sys.executable, SCRIPTS / "train.py", "--settings", canonical_json(chosen.model_dump())),
        *("--split", split, "--output", output, "--log-dir", output.with_suffix(".log")),
        *("--stop-at-epoch", 2, "--threads", 2, "--device", "cuda", "--gpus", n_gpus),
    ]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    subprocess.run([str(word) for word in command], check=True, env=environment, timeout=120)
    return read_scalars(output.with_suffix(".log"))


@pytest.mark.skipif(N_GPUS < 2, reason="needs two GPUs")
def test_two_gpus_compute_what_one_does(split_path: Path, tmp_path: Path):
    one, two = (run_stage(split_path, tmp_path / f"{n}.pt", n) for n in (1, 2))
    assert one.keys() == two.keys()
    for tag in ("L_total", "L_contrast", "L_supcon"):
        for (_, expected), (_, found) in zip(one[tag], two[tag], strict=True):
            assert found == pytest.approx(expected, rel=1e-2), tag
    run_stage(split_path, tmp_path / "again.pt", 2)
    assert digest(tmp_path / "2.pt") == digest(tmp_path / "again.pt")

"""A warm-up that is taken from another run: the same bytes, the same curves, or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from example_files import stepped
from gcdflow.config.settings import TrainSettings
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.files.event_log import EventLog, event_file, read_scalars
from gcdflow.training.shared_warmup import take_warmup

HISTORY = {epoch: {"L_total": 2.0 / epoch, "gamma": 0.0} for epoch in (1, 2, 3)}


@pytest.fixture
def split(tmp_path: Path) -> Path:
    path = tmp_path / "split.npz"
    path.write_bytes(b"the ids of samples")
    return path


@pytest.fixture
def other(tmp_path: Path, split: Path, tiny_settings: TrainSettings) -> Path:
    """The checkpoint of another run, after three epochs."""
    path = tmp_path / "other" / "ckpt_epoch003.pt"
    values = {"split_sha256": sha256_file(split), "history": HISTORY}
    stepped(tiny_settings, **values)[1].save(path)
    return path


def test_the_checkpoint_is_a_file_of_its_own_with_the_same_bytes_and_curves(
    tmp_path: Path, split: Path, other: Path, tiny_settings: TrainSettings
):
    log = tmp_path / "log"
    EventLog(event_file(log, "train", 1, 2), {1: {"L_total": 9.0}, 2: {"L_total": 9.0}}).close()
    output = tmp_path / "own" / "ckpt_epoch003.pt"
    before = other.stat()
    assert take_warmup(other, output, settings=tiny_settings, split=split, log_dir=log) == 3
    assert output.read_bytes() == other.read_bytes()
    assert not output.samefile(other)  # Snakemake changes the time of an output
    assert other.stat().st_mtime_ns == before.st_mtime_ns
    curves = {tag: dict(curve) for tag, curve in read_scalars(log).items()}
    assert curves["gamma"] == {1: 0.0, 2: 0.0, 3: 0.0}
    assert curves["L_total"] == pytest.approx({1: 2.0, 2: 1.0, 3: 2 / 3})


def test_a_warm_up_of_0_epochs_has_no_curves(
    tmp_path: Path, split: Path, tiny_settings: TrainSettings
):
    other, output = tmp_path / "other" / "ckpt_epoch000.pt", tmp_path / "own" / "ckpt_epoch000.pt"
    stepped(tiny_settings, epoch=0, split_sha256=sha256_file(split))[1].save(other)
    taken = {"settings": tiny_settings, "split": split, "log_dir": tmp_path / "log"}
    assert take_warmup(other, output, **taken) == 0
    assert output.read_bytes() == other.read_bytes()
    assert read_scalars(tmp_path / "log") == {}


def test_another_split_is_refused(
    tmp_path: Path, split: Path, other: Path, tiny_settings: TrainSettings
):
    split.write_bytes(b"the ids of more samples")
    sentence = (
        f"{other}: was trained on another split than {split}, although both runs have the same "
        "settings; if their images were listed at different times, `--forcerun dataset` at the end "
        "of the command lists them again for both; if that run has left the configuration, delete "
        "its folder"
    )
    with pytest.raises(InputError) as error:
        take_warmup(other, tmp_path / "c.pt", settings=tiny_settings, split=split)
    assert str(error.value) == sentence
    assert not (tmp_path / "c.pt").exists()


def test_other_settings_are_refused(
    tmp_path: Path, split: Path, other: Path, tiny_settings: TrainSettings
):
    """Those of a run that has left the configuration are compared nowhere else."""
    changed = tiny_settings.model_copy(update={"seed": 7})
    with pytest.raises(InputError, match=r"was trained with seed = 0, now it is 7; restore"):
        take_warmup(other, tmp_path / "c.pt", settings=changed, split=split)
    assert not (tmp_path / "c.pt").exists()

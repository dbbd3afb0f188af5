"""Stored views: how the file is made, whatever interrupts it, and what it holds."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_ranks import run_as_ranks
from gcdflow.data import partial_views
from gcdflow.data.partial_views import PartialViews, delete_views
from gcdflow.data.randomness import uniforms
from gcdflow.data.view_files import Layout
from gcdflow.distributed.interruption import Interrupted
from gcdflow.errors import InputError
from gcdflow.files.atomic import canonical_json
from gcdflow.files.formats import Split
from gcdflow.models.backbones import augmentation_of
from gcdflow.models.model import Model
from gcdflow.training.features import extract_features
from gcdflow.training.segment import train_segment
from gcdflow.training.segment_files import SegmentFiles
from gcdflow.training.views import ViewMaker, _as_float16
from small_training import digest, signal_at
from small_views import N_VIEWS, make, settings, write_pictures, write_split
from stage_processes import in_process


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "images")


@pytest.fixture(scope="module")
def split(pictures: Path) -> Path:
    return write_split(pictures, pictures.parent / "split.npz")


@pytest.fixture(scope="module")
def views(split: Path) -> Path:
    return make(split, split.parent / "views" / "v.npy")


def beside(path: Path) -> set[str]:
    """Names of all files in the folder of a file."""
    return {other.name for other in path.parent.iterdir()}


# -- what it holds ---------------------------------------------------------------------------------


def test_any_numpy_maps_it_and_its_rows_are_what_the_frozen_part_gives(split: Path, views: Path):
    rows = np.load(views, mmap_mode="r")
    assert rows.dtype == np.float16
    whole, chosen = Split.load(split), settings()
    n_train = int(whole.train_mask.sum())
    assert (n_train, len(whole.indices)) == (36, 48)
    assert len(rows) == 36 * (N_VIEWS + 1) + 12
    torch.manual_seed(chosen.seed)
    backbone = Model(chosen).backbone.eval()
    augmentation = augmentation_of(chosen)
    maker = ViewMaker(chosen.views_settings(), whole, torch.device("cpu"), 0)
    train, test = np.flatnonzero(whole.train_mask), np.flatnonzero(~whole.train_mask)
    for place, number in ((0, 0), (35, 3), (20, N_VIEWS)):  # images and views at the borders
        position = train[[place]]
        prepared = augmentation.prepare(maker._images.read(position, 40))
        if number < N_VIEWS:
            u = uniforms(augmentation.n_draws, 0, 0, whole.indices[position], number, 5)
            view = augmentation.view(prepared, u)
        else:
            view = augmentation.evaluation_view(prepared)
        found = torch.from_numpy(rows[place * (N_VIEWS + 1) + number].astype(np.float32))
        torch.testing.assert_close(found, backbone.frozen(view)[0], rtol=1e-3, atol=1e-3)
    prepared = augmentation.prepare(maker._images.read(test[[11]], 40))
    expected = backbone.frozen(augmentation.evaluation_view(prepared))[0]
    found = torch.from_numpy(rows[-1].astype(np.float32))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_views", [2, 4, 100])
@pytest.mark.parametrize(("n_train", "n_test"), [(36, 12), (1, 0), (13, 200)])
def test_chunks_cover_all_rows_once_and_never_both_kinds(n_train: int, n_test: int, n_views: int):
    layout = Layout(n_train, n_test, n_views)
    spans = [layout.rows(chunk) for chunk in range(layout.n_chunks)]
    assert spans[0][0] == 0
    assert spans[-1][1] == layout.n_rows == n_train * (n_views + 1) + n_test
    assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(spans))
    border = n_train * (n_views + 1)
    assert all(end <= border or begin >= border for begin, end in spans)
    of_rows = layout.chunks_of(np.arange(layout.n_rows))
    expected = np.repeat(np.arange(layout.n_chunks), [end - begin for begin, end in spans])
    np.testing.assert_array_equal(of_rows, expected)


def test_loading_processes_and_labels_and_seeds_change_no_byte(
    split: Path, views: Path, pictures: Path, tmp_path: Path
):
    from gcdflow.training.views import make_views

    stored = settings().views_settings()
    workers = tmp_path / "workers.npy"
    make_views(stored, split, workers, device="cpu", threads=1, num_workers=2)
    assert digest(workers) == digest(views)
    other = write_split(pictures, tmp_path / "split.npz", seed=1)
    assert digest(other) != digest(split)
    assert digest(make(other, tmp_path / "labels.npy")) == digest(views)


def test_weights_of_a_file_have_no_seed():
    assert settings(seed=3).views_settings().seed == 3
    brought = {"backbone": {"weights": "w.safetensors"}}
    assert settings(seed=3, **brought).views_settings() == settings(**brought).views_settings()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1.0, -7e4], r"values up to 7e\+04, float16 holds at most 65504"),
        ([1.0, float("nan")], "values that are NaN or infinite"),
    ],
)
def test_numbers_that_float16_cannot_hold_are_refused(values: list[float], found: str):
    with pytest.raises(InputError, match=rf"training\.views: the frozen part .* gives {found}"):
        _as_float16(torch.tensor(values))
    np.testing.assert_array_equal(_as_float16(torch.tensor([65504.0])), [65504])


# -- interruptions ---------------------------------------------------------------------------------


def interrupting_at(monkeypatch: pytest.MonkeyPatch, chunk: int, error: BaseException) -> None:
    add = PartialViews.add

    def added(self: PartialViews, rows: np.ndarray) -> None:
        if self.n_done == chunk:
            raise error
        add(self, rows)

    monkeypatch.setattr(PartialViews, "add", added)


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_signal_costs_one_chunk(
    split: Path, views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, chunk: int
):
    output = tmp_path / "views" / "v.npy"
    interrupting_at(monkeypatch, chunk, Interrupted(signal.SIGTERM))
    with pytest.raises(Interrupted, match=f"by SIGTERM after {chunk} of 4 chunks; they are kept"):
        make(split, output)
    assert beside(output) == {".v.npy.part", ".v.npy.chunks"}
    monkeypatch.undo()
    made = []
    rows = ViewMaker._rows
    monkeypatch.setattr(
        ViewMaker, "_rows", lambda self, *a: (made.append(r) or r for r in rows(self, *a))
    )
    with caplog.at_level("INFO"):
        make(split, output)
    assert f"{chunk} of 4 chunks are done already" in caplog.text
    assert len(made) == 1 + 4 - chunk  # one row tells the shape
    assert digest(output) == digest(views)


def test_a_torn_note_and_a_torn_chunk_are_made_again(
    split: Path, views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As a power cut may leave them."""
    output = tmp_path / "v.npy"
    interrupting_at(monkeypatch, 3, Interrupted(signal.SIGTERM))
    with pytest.raises(Interrupted):
        make(split, output)
    monkeypatch.undo()
    notes, data = tmp_path / ".v.npy.chunks", tmp_path / ".v.npy.part"
    notes.write_text(notes.read_text()[:-20])
    content = bytearray(data.read_bytes())
    layout = Layout(36, 12, N_VIEWS)
    row = len(np.load(views, mmap_mode="r")[0].tobytes())
    content[-layout.rows_of_a_chunk * row - 5] ^= 1  # in the second chunk
    data.write_bytes(content)
    make(split, output)
    assert digest(output) == digest(views)


def test_a_killed_process_goes_on_and_ends_in_equal_bytes(
    split: Path, views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed when the data of the third chunk are written, and not noted."""
    output, note = tmp_path / "v.npy", PartialViews._note

    def note_or_die(part: PartialViews, checksum: str) -> None:
        if part.n_done == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        note(part, checksum)

    monkeypatch.setattr(PartialViews, "_note", note_or_die)
    assert run_as_ranks(1, make, split, output) == [-signal.SIGKILL]
    monkeypatch.undo()
    assert not output.exists()
    stored = canonical_json(settings().views_settings().model_dump())
    arguments = ("--split", split, "--settings", stored, "--output", output, "--threads", "1")
    said = in_process("views", *arguments, "--device", "cpu", "--num-workers", "0").stderr
    assert "2 of 4 chunks are done already" in said
    assert "v.npy: 4 views of each training image" in said.splitlines()[-1]
    assert digest(output) == digest(views)


def test_a_finished_file_that_snakemake_deleted_is_not_made_again(
    split: Path, views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = make(split, tmp_path / "v.npy")
    output.unlink()
    old = (tmp_path / ".v.npy.part").stat().st_mtime_ns
    monkeypatch.setattr(PartialViews, "add", None)
    make(split, output)
    assert digest(output) == digest(views)
    assert output.stat().st_mtime_ns > old  # newer than its inputs, as Snakemake wants it


def test_what_other_settings_have_left_is_not_gone_on_from(
    split: Path, views: Path, tmp_path: Path
):
    output = make(split, tmp_path / "v.npy")
    shutil.copy(output, tmp_path / "kept.npy")
    os.link(output, tmp_path / "used.npy")
    make(split, output, settings(training={"views": 2}))
    assert len(np.load(output, mmap_mode="r")) == 36 * 3 + 12
    assert digest(tmp_path / "used.npy") == digest(views)  # what others use is not written to
    make(split, output)
    assert digest(output) == digest(views)


def test_a_file_system_without_hard_links(
    split: Path, views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*paths: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(partial_views, "atomic_link", refuse)
    output = make(split, tmp_path / "v.npy")
    assert digest(output) == digest(views)
    assert beside(output) == {"v.npy", ".v.npy.chunks"}


def test_deleting_leaves_nothing(split: Path, tmp_path: Path):
    output = make(split, tmp_path / "views" / "v.npy")
    size = output.stat().st_size
    assert delete_views(output) == size
    assert beside(output) == set()
    with pytest.raises(InputError, match=r"v\.npy: cannot be deleted \(No such file"):
        delete_views(output)


# -- full disks ------------------------------------------------------------------------------------


def test_no_room_is_said_before_the_work_begins(
    split: Path, views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(PartialViews, "add", None)
    needed = np.load(views, mmap_mode="r").nbytes
    with pytest.raises(
        InputError,
        match=rf"v\.npy: cannot be written \(No space left on device: it needs \d+ bytes, "
        rf"{needed - 1000} of them found no room; free some and run again\)",
    ):
        make(split, tmp_path / "v.npy")
    assert beside(tmp_path / "v.npy") == set()


def test_a_disk_that_fills_up_meanwhile_keeps_what_is_done(
    split: Path, views: Path, tmp_path: Path
):
    output, limits = tmp_path / "v.npy", resource.getrlimit(resource.RLIMIT_FSIZE)
    half = views.stat().st_size // 2
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (half, limits[1]))
    try:
        with pytest.raises(InputError, match=r"\(File too large: it needs \d+ bytes, [1-9]\d* of"):
            make(split, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not output.exists()
    assert (tmp_path / ".v.npy.chunks").read_text().count("\n") == 2  # of four
    make(split, output)
    assert digest(output) == digest(views)


# -- training and features -------------------------------------------------------------------------


def train(split: Path, output: Path, stop: int, views: Path, **options: object) -> Path:
    chosen = options.pop("settings", None) or settings()
    files = SegmentFiles(split, output, views=views, **options)
    train_segment(chosen, files, stop_at_epoch=stop, device="cpu", threads=1, num_workers=0)
    return output


def test_training_from_views_needs_no_image_and_ends_in_equal_bytes(
    split: Path, views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from gcdflow.data.datasets.images import FileImages

    monkeypatch.setattr(FileImages, "read", None)
    whole = train(split, tmp_path / "whole.pt", 3, views)
    first = train(split, tmp_path / "first.pt", 1, views)
    second = train(split, tmp_path / "second.pt", 3, views, resume_from=first)
    assert digest(whole) == digest(second)
    # In the first step of epoch 1, and in the last of epoch 2.
    calls = signal_at(monkeypatch, {1, 4})
    for _ in range(2):
        with pytest.raises(Interrupted):
            train(split, tmp_path / "cut.pt", 3, views)
    train(split, tmp_path / "cut.pt", 3, views)
    assert len(calls) == 6  # two steps an epoch, none of them twice
    assert digest(tmp_path / "cut.pt") == digest(whole)


def test_a_training_from_other_views_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """A picture has changed under its name: settings, split and paths are those of before."""
    pictures = write_pictures(tmp_path / "images")
    split = write_split(pictures, tmp_path / "split.npz")
    before = make(split, tmp_path / "before.npy")
    signal_at(monkeypatch, {1})
    with pytest.raises(Interrupted):
        train(split, tmp_path / "cut.pt", 1, before)
    shutil.copy(pictures / "train/c0/0.png", pictures / "train/c1/0.png")
    after = make(split, tmp_path / "after.npy")
    resumed = train(split, tmp_path / "cut.pt", 1, after)
    assert "left by a segment with other settings or inputs" in caplog.text
    assert digest(resumed) == digest(train(split, tmp_path / "fresh.pt", 1, after))


def test_features_from_views_are_the_plain_ones_up_to_rounding(
    split: Path, views: Path, tmp_path: Path
):
    checkpoint = train(split, tmp_path / "c.pt", 2, views)
    plain = extract_features(checkpoint, split, device="cpu", threads=1, num_workers=0)
    stored = extract_features(checkpoint, split, views, device="cpu", threads=1, batch_size=7)
    np.testing.assert_array_equal(stored.indices, plain.indices)
    assert stored.metadata == plain.metadata
    scale = np.abs(plain.features).max()
    np.testing.assert_allclose(stored.features, plain.features, atol=2e-3 * scale)
    assert not np.array_equal(stored.features, plain.features)


def test_settings_and_views_belong_together(split: Path, views: Path, tmp_path: Path):
    fresh = settings(training={"views": None})
    with pytest.raises(InputError, match=r"found views = .*v\.npy, training\.views = None"):
        train(split, tmp_path / "c.pt", 1, views, settings=fresh)
    with pytest.raises(InputError, match=r"found views = None, training\.views = 4"):
        train(split, tmp_path / "c.pt", 1, None)


def test_what_an_earlier_version_made_is_not_gone_on_from(split, tmp_path, monkeypatch):
    """Neither a finished file that Snakemake deleted, nor a part."""
    output, added, add = make(split, tmp_path / "v.npy"), [], PartialViews.add
    expected = np.load(output)
    output.unlink()
    monkeypatch.setattr(PartialViews, "add", lambda self, rows: (added.append(1), add(self, rows)))
    make(split, output, result_version=1)
    assert len(added) == 4
    np.testing.assert_array_equal(np.load(output), expected)


def test_a_damaged_file_is_made_again_beside_what_others_use(split, tmp_path):
    output = make(split, tmp_path / "v.npy")
    whole = digest(output)
    os.link(output, tmp_path / "used.npy")
    with open(output, "r+b") as file:
        file.seek(-3000, os.SEEK_END)
        file.write(b"\1")
    damaged = digest(output)
    assert damaged != whole
    make(split, output)
    assert digest(output) == whole
    assert digest(tmp_path / "used.npy") == damaged

"""Files of stored views: which views a step draws, and what is said of files that do not fit."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gcdflow.data.partial_views import PartialViews
from gcdflow.data.sampling import BatchPlan, plan_epoch
from gcdflow.data.stored_views import StoredViews, drawn_views
from gcdflow.data.view_files import Layout, Origin, images_sha256
from gcdflow.errors import InputError
from gcdflow.files.formats import Split
from gcdflow.files.lease import Lease
from gcdflow.files.trailer import read_trailer, trailer
from small_views import settings
from torch import Tensor

SHAPE = (5, 3)
N_VIEWS = 4


def origin(split: Split, **changes: object) -> Origin:
    return Origin.of(settings(**changes).views_settings(), split, "ab" * 32)


def stored(path: Path, split: Split, rows: np.ndarray | None = None) -> np.ndarray:
    """Write stored views; their rows, random ones if not given."""
    layout = Layout.of(split, N_VIEWS)
    if rows is None:
        rows = np.random.default_rng(0).normal(size=(layout.n_rows, *SHAPE)).astype(np.float16)
    with Lease(path) as lease:
        part = PartialViews(path, lease, origin(split), layout, SHAPE, 1)
        for chunk in range(layout.n_chunks):
            begin, end = layout.rows(chunk)
            part.add(rows[begin:end])
        part.finish()
        part.close()
    return rows


@pytest.fixture
def split(make_split: Callable[..., Split]) -> Split:
    return make_split(100)


@pytest.fixture
def views(split: Split, tmp_path: Path) -> Path:
    stored(tmp_path / "v.npy", split)
    return tmp_path / "v.npy"


def read_all(path: Path, split: Split, **changes: object) -> None:
    with StoredViews(path, split, origin(split, **changes)) as views:
        for _ in views.evaluation_batches(np.arange(len(split.indices)), batch_size=9):
            pass


# -- writing ---------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_cut_off_is_an_error(split: Split, tmp_path: Path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "truncate", refuse)
    with pytest.raises(InputError, match=r"v\.npy: cannot be written \(Input/output error\)"):
        stored(tmp_path / "v.npy", split)


# -- drawing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_views", [2, 3, 8])
def test_two_different_views_are_drawn_and_every_pair_as_often(n_views: int):
    plan = BatchPlan(np.arange(20_000), np.zeros(20_000, dtype=np.int64))
    first, other = drawn_views(n_views, plan, seed=0, epoch=1)
    pairs = dict.fromkeys(itertools.permutations(range(n_views), 2), 0)
    for pair in zip(first.tolist(), other.tolist(), strict=True):
        pairs[pair] += 1
    expected = 20_000 / len(pairs)
    assert all(abs(count - expected) < 6 * math.sqrt(expected) for count in pairs.values()), pairs


def test_the_draw_depends_on_seed_epoch_sample_and_occurrence_only():
    ids, none = np.arange(50), np.zeros(50, dtype=np.int64)
    drawn = drawn_views(8, BatchPlan(ids, none), seed=0, epoch=1)
    np.testing.assert_array_equal(drawn, drawn_views(8, BatchPlan(ids, none), seed=0, epoch=1))
    some = BatchPlan(ids[10:20], none[10:20])
    np.testing.assert_array_equal(drawn[:, 10:20], drawn_views(8, some, seed=0, epoch=1))
    for plan, seed, epoch in (
        (BatchPlan(ids, none), 1, 1),
        (BatchPlan(ids, none), 0, 2),
        (BatchPlan(ids + 50, none), 0, 1),
        (BatchPlan(ids, none + 1), 0, 1),
    ):
        assert (drawn != drawn_views(8, plan, seed=seed, epoch=epoch)).any()


def test_batches_are_those_of_fresh_views_with_rows_of_the_file(split: Split, views: Path):
    rows = np.load(views)
    labelled = split.indices[split.train_mask & split.labelled_mask]
    unlabelled = split.indices[split.train_mask & ~split.labelled_mask]
    ids = split.indices[split.train_mask].tolist()  # in the order of the rows
    options = {"epochs": range(1, 3), "batch_size": 8, "seed": 5}
    with StoredViews(views, split, origin(split)) as file:
        whole = {epoch: list(found) for epoch, found in file.training_batches(**options)}
        parts = [
            {e: list(b) for e, b in file.training_batches(**options, part=slice(rank, None, 2))}
            for rank in range(2)
        ]
        late = {e: list(b) for e, b in file.training_batches(**options, first_step=3)}
        more = {e: list(b) for e, b in file.training_batches(**options, min_steps=14)}
    for epoch in (1, 2):
        plans = plan_epoch(labelled, unlabelled, batch_size=8, seed=5, epoch=epoch)
        assert len(whole[epoch]) == len(plans) == 10
        for step, (plan, batch) in enumerate(zip(plans, whole[epoch], strict=True)):
            np.testing.assert_array_equal(split.indices[batch.positions], plan.ids)
            drawn = drawn_views(N_VIEWS, plan, seed=5, epoch=epoch)
            expected = [
                rows[ids.index(sample) * (N_VIEWS + 1) + number]
                for numbers in drawn
                for sample, number in zip(plan.ids, numbers, strict=True)
            ]
            np.testing.assert_array_equal(batch.views, expected)
            for rank, part in enumerate(parts):
                both = batch.views.unflatten(0, (2, 8))[:, rank::2].flatten(0, 1)
                np.testing.assert_array_equal(part[epoch][step].views, both)
                np.testing.assert_array_equal(part[epoch][step].positions, batch.positions)
    assert [len(late[epoch]) for epoch in (1, 2)] == [7, 10]
    assert [len(more[epoch]) for epoch in (1, 2)] == [14, 14]
    assert all(map(torch.equal, *([b.views for b in found[1]][:10] for found in (whole, more))))
    np.testing.assert_array_equal(late[1][0].views, whole[1][3].views)


def test_evaluation_views_come_in_the_order_of_the_positions(split: Split, views: Path):
    rows, positions = np.load(views), np.random.default_rng(1).permutation(100)[:70]
    train, n_train = np.flatnonzero(split.train_mask), int(split.train_mask.sum())
    test = np.flatnonzero(~split.train_mask)
    row_of = {p: i * (N_VIEWS + 1) + N_VIEWS for i, p in enumerate(train)}
    row_of |= {p: n_train * (N_VIEWS + 1) + i for i, p in enumerate(test)}
    with StoredViews(views, split, origin(split)) as file:
        batches = list(file.evaluation_batches(positions, batch_size=32))
    assert [len(batch) for batch in batches] == [32, 32, 6]
    np.testing.assert_array_equal(np.concatenate(batches), rows[[row_of[p] for p in positions]])


# -- files that do not fit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"views": 3}}, "another number of views .expected 3, found 4"),
        ({"backbone": {"trained_blocks": 2}}, 'another backbone .*"trained_blocks":2.*found'),
        ({"backbone": {"model": "test_vit2"}}, 'another backbone .*"model":"test_vit2".*found'),
        ({"augmentation": {"flip": False}}, 'another augmentation .*"flip":false.*found'),
    ],
)
def test_views_of_other_settings(split: Split, views: Path, changes: dict, message: str):
    with pytest.raises(InputError, match=rf"v\.npy: holds views made with {message}.*delete it"):
        read_all(views, split, **changes)


def test_views_of_other_weights(split: Split, views: Path):
    other = Origin.of(settings().views_settings(), split, "cd" * 32)
    with pytest.raises(InputError, match=r"another weight file \(expected \"cdcd.*found \"abab"):
        StoredViews(views, split, other)
    of_seed = Origin.of(settings(seed=4).views_settings(), split, None)
    with pytest.raises(InputError, match="another weight file"):
        StoredViews(views, split, of_seed)


@pytest.mark.parametrize("name", ["indices", "train_mask", "source", "paths"])
def test_views_of_another_split(split: Split, views: Path, name: str):
    changed = {
        "indices": split.indices[::-1],
        "train_mask": ~split.train_mask,
        "source": {"dataset": "digits", "root": "elsewhere"},
        "paths": np.array([f"{i}.png" for i in range(100)]),
    }
    with pytest.raises(InputError, match=r"v\.npy: holds views made with another split"):
        read_all(views, replace(split, **{name: changed[name]}))


def test_labels_make_no_other_views(split: Split):
    none = np.zeros_like(split.labelled_mask)
    other = replace(split, labelled_mask=none, labels=np.full_like(split.labels, -1))
    assert images_sha256(other) == images_sha256(split)


def rewritten(path: Path, **changes: object) -> None:
    """Change what the file says of itself."""
    with open(path, "rb") as file:
        text = read_trailer(file)
    data = path.read_bytes()[: -len(trailer(text.decode()))]
    path.write_bytes(data + trailer(json.dumps({**json.loads(text), **changes})))


def test_a_missing_file_and_one_that_is_no_file(split: Split, tmp_path: Path):
    with pytest.raises(InputError, match=r"x\.npy: cannot be read \(No such file"):
        read_all(tmp_path / "x.npy", split)
    with pytest.raises(InputError, match=r"not a file of stored views \(no regular file"):
        read_all(tmp_path, split)


def test_batches_are_read_while_an_earlier_one_is_used(
    split: Split, views: Path, monkeypatch: pytest.MonkeyPatch
):
    read, begun = StoredViews._read, []
    last_first = threading.Event()

    def watched(self: StoredViews, rows: np.ndarray) -> Tensor:
        begun.append(len(begun))
        if len(begun) < 3:
            assert last_first.wait(60)  # the first two end after the third has begun
        last_first.set()
        return read(self, rows)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    positions = np.arange(100)
    with StoredViews(views, split, origin(split)) as file:
        expected = torch.cat(list(file.evaluation_batches(positions, batch_size=100)))
        monkeypatch.setattr(StoredViews, "_read", watched)
        batches = file.evaluation_batches(positions, batch_size=10)
        first = next(batches)
        assert 3 <= len(begun) <= 4
        assert torch.equal(torch.cat([first, *batches]), expected)
        abandoned = file.evaluation_batches(positions, batch_size=10)
        next(abandoned)
        abandoned.close()
        assert len(begun) <= 10 + 4  # no more than was begun


@pytest.mark.parametrize("left", [0, 10, 200, -1, -100])
def test_a_file_that_is_cut_off(split: Split, views: Path, left: int):
    views.write_bytes(views.read_bytes()[:left])
    with pytest.raises(InputError, match=r"not a file of stored views, or cut off .*delete it"):
        read_all(views, split)


def test_a_file_that_is_cut_off_while_it_is_read(split: Split, views: Path):
    with StoredViews(views, split, origin(split)) as file:
        with open(views, "r+b") as other:
            other.truncate(1000)
        with pytest.raises(InputError, match=r"v\.npy: was cut off while it was read"):
            list(file.evaluation_batches(np.arange(100), batch_size=10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "description cannot be read .format 2, expected 1"),
        ({"format": True}, "description cannot be read .format True"),
        ({"chunks": "abc"}, "description cannot be read .no list of checksums"),
        ({"chunks": [1, 2]}, "description cannot be read .no list of checksums"),
        ({"chunks": []}, "in 0 chunks and .*, expected 420 rows in 8 chunks"),
        ({"views": "4"}, 'another number of views .expected 4, found "4"'),
        ({"backbone": None}, "another backbone .*found null"),
    ],
)
def test_a_foreign_description(split: Split, views: Path, changes: dict, message: str):
    rewritten(views, **changes)
    with pytest.raises(InputError, match=rf"v\.npy: .*{message}.*delete it"):
        read_all(views, split)


def test_a_description_that_is_no_json(split: Split, views: Path):
    views.write_bytes(views.read_bytes() + trailer("{"))
    with pytest.raises(InputError, match=r"its description cannot be read \(not JSON"):
        read_all(views, split)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"(420, 5, 3)", b"(420, 5, 4)", r"declares the shape \(420, 5, 4\)"),
        (b"(420, 5, 3)", b"(105,20, 3)", "declares the shape .105, 20, 3.*expected 420 rows"),
        (b"<f2", b"<i2", "not an .npy file of float16 .int16"),
        (b"'<f2'", b"'|O' ", "not an .npy file of float16"),
        (b"False", b"True ", "not an .npy file of float16"),
        (b"\x93NUMPY", b"\x93NUMPI", "not an .npy file of float16"),
    ],
)
def test_a_foreign_header(split: Split, views: Path, old: bytes, new: bytes, message: str):
    content = views.read_bytes()
    assert old in content
    views.write_bytes(content.replace(old, new, 1))
    with pytest.raises(InputError, match=rf"v\.npy: .*{message}"):
        read_all(views, split)


def test_damaged_data_are_met_when_they_are_read(split: Split, views: Path):
    content = bytearray(views.read_bytes())
    content[128 + 3 * 60 * 30 + 7] ^= 4  # in the fourth chunk of 60 rows
    views.write_bytes(content)
    train = np.flatnonzero(split.train_mask)
    with StoredViews(views, split, origin(split)) as file:
        list(file.evaluation_batches(train[:36], batch_size=10))
        with pytest.raises(InputError, match=r"chunk 4 of 8 is damaged: it does not fit its check"):
            list(file.evaluation_batches(train[36:37], batch_size=10))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none(split: Split, tmp_path: Path, value: float):
    rows = np.zeros((420, *SHAPE), dtype=np.float16)
    rows[419, 4, 2] = value
    stored(tmp_path / "v.npy", split, rows)
    with pytest.raises(InputError, match=r"v\.npy: chunk 8 of 8 holds NaN or infinite numbers"):
        read_all(tmp_path / "v.npy", split)

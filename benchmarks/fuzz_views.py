"""Stored views for the fuzzer: a valid file, how it is changed, and what must hold of it."""

from __future__ import annotations

import hashlib
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_mutations import mutate
from gcdflow.data.partial_views import PartialViews
from gcdflow.data.stored_views import StoredViews
from gcdflow.data.view_files import Layout, Origin, images_sha256
from gcdflow.files.formats import Split
from gcdflow.files.lease import Lease
from gcdflow.files.trailer import read_trailer, trailer

PLACE = "v.npy"
_N, _VIEWS, _SHAPE = 90, 2, (3, 2)
_SPLIT = Split(
    *(np.arange(_N), np.arange(_N) % 3 > 0, np.zeros(_N, dtype=bool), np.full(_N, -1)),
    *({"dataset": "digits"}, np.array([], "U1"), np.array(["ant"])),
)
_ORIGIN = Origin(
    _VIEWS, images_sha256(_SPLIT), "1" * 64, {"model": "x"}, {"name": "crop", "flip": True}
)


def seeds(folder: Path) -> list[bytes]:
    """The bytes of a valid file."""
    layout, path = Layout.of(_SPLIT, _VIEWS), folder / "seed.npy"
    rows = np.random.default_rng(0).normal(size=(layout.n_rows, *_SHAPE)).astype(np.float16)
    with Lease(path) as lease:
        part = PartialViews(path, lease, _ORIGIN, layout, _SHAPE, 1)
        for chunk in range(part.n_done, layout.n_chunks):
            part.add(rows[slice(*layout.rows(chunk))])
        part.finish()
        part.close()
    return [path.read_bytes()]


def read(path: Path) -> list[np.ndarray]:
    """All that training and features read of it."""
    with StoredViews(path, _SPLIT, _ORIGIN) as views:
        batches = list(views.evaluation_batches(np.arange(_N), batch_size=32))
        for _, drawn in views.training_batches(epochs=range(1, 3), batch_size=16, seed=0):
            batches += [batch.views for batch in drawn]
    return [batch.numpy() for batch in batches]


def check(path: Path, batches: list[np.ndarray]) -> None:
    """Numbers of float16, all finite and of one shape."""
    assert {batch.dtype for batch in batches} == {np.dtype(np.float16)}
    assert len({batch.shape[1:] for batch in batches}) == 1
    assert all(np.isfinite(batch).all() for batch in batches)


def mutate_views(rng: random.Random, content: bytes) -> bytes:
    """Data, header or description changed, in a file that is whole as such."""
    text = read_trailer(io.BytesIO(content))
    data = content[: -len(trailer(text.decode()))]
    if rng.random() < 0.5:
        return data + trailer(_other_description(rng, json.loads(text)))
    changed = mutate(rng, data)
    if rng.random() < 0.5:
        text = _with_right_checksums(text, changed).encode()
    return changed + trailer(text.decode())


def _other_description(rng: random.Random, values: dict[str, Any]) -> str:
    foreign = [None, -1, 10**30, 1.5, True, "", "ü" * 9, [], [[]], {}, {"model": "x"}, ["0" * 64]]
    if rng.random() < 0.3:
        return mutate(rng, json.dumps(values).encode()).decode("utf-8", "replace")
    key = rng.choice(sorted(values))
    if rng.random() < 0.2:
        del values[key]
    else:
        values[key] = rng.choice(foreign)
    return json.dumps(values)


def _with_right_checksums(text: bytes, data: bytes) -> str:
    """What a hostile writer would say of changed data."""
    values, layout = json.loads(text), Layout.of(_SPLIT, _VIEWS)
    row, offset = 2 * int(np.prod(_SHAPE)), 128
    for chunk in range(layout.n_chunks):
        begin, end = layout.rows(chunk)
        part = data[offset + begin * row : offset + end * row]
        values["chunks"][chunk] = hashlib.sha256(part).hexdigest()
    return json.dumps(values)

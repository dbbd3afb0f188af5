"""Training and evaluation batches from a file of stored views (see the contract, section 2)."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from gcdflow.data.loading import N_VIEWS, Batch
from gcdflow.data.randomness import STORED_DRAW_STREAM, uniforms
from gcdflow.data.sampling import BatchPlan, plans_by_epoch
from gcdflow.data.view_files import DTYPE, Layout, Origin, described
from gcdflow.errors import InputError
from gcdflow.files.formats import Split, align

_EXPONENT = 0x7C00  # these bits of a float16 are all set in NaN and infinite numbers alone
_MOST_READERS = 4  # threads that read a batch each, while the processor or GPU computes
_Item = TypeVar("_Item")
_Read = TypeVar("_Read")


def drawn_views(n_views: int, plan: BatchPlan, *, seed: int, epoch: int) -> np.ndarray:
    """Numbers of the views of each sample of a batch: ``N_VIEWS`` different ones of ``n_views``.

    A pure function of seed, epoch, sample id and occurrence.

    Returns
    -------
    ndarray of int64, shape (N_VIEWS, B)
    """
    u = uniforms(N_VIEWS, seed, epoch, plan.ids, plan.occurrences, STORED_DRAW_STREAM)
    first = (u[:, 0] * n_views).astype(np.int64)
    other = (first + 1 + (u[:, 1] * (n_views - 1)).astype(np.int64)) % n_views
    return np.stack([first, other])


class StoredViews:
    """An open file of stored views of a split's images.

    Each chunk is checked when something of it is read first. The file is read, not mapped: what
    happens to the disk meanwhile is then an error of one sentence.

    Parameters
    ----------
    path : Path
    split : Split
        Whose images it must hold.
    origin : Origin
        What it must have been made of.
    pinned : bool
        Whether batches lie in memory from which a GPU copies without the host.

    Attributes
    ----------
    sha256 : str, of all that the file says of itself, with checksums of its data

    Raises
    ------
    InputError
        If it is missing, damaged, or was made of something else; also by all that reads.
    """

    def __init__(self, path: Path, split: Split, origin: Origin, *, pinned: bool = False):
        self._path, self._split, self._pinned = Path(path), split, pinned
        self._layout = Layout.of(split, origin.views)
        if self._path.exists() and not self._path.is_file():
            raise InputError(f"{path}: not a file of stored views (no regular file)")
        try:
            self._file = open(path, "rb")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        found = described(self._path, self._file, origin, self._layout)
        self.sha256 = found.sha256
        self._offset, self._shape, self._chunks = found.offset, found.shape, found.chunks
        self._row_bytes = int(np.prod(self._shape, dtype=np.int64)) * DTYPE.itemsize
        self._is_checked = np.zeros(self._layout.n_chunks, dtype=bool)
        order = np.argsort(~split.train_mask, kind="stable")  # training images first
        self._place = np.empty(len(order), dtype=np.int64)
        self._place[order] = np.arange(len(order))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def training_batches(
        self, *, seed: int, part: slice = slice(None), **options: Any
    ) -> Iterator[tuple[int, Iterator[Batch]]]:
        """Batches of several epochs, as of :func:`gcdflow.data.loading.training_batches`.

        Views are float16 (2 · b, …), as they are stored. ``options`` are the others of
        :func:`gcdflow.data.sampling.plans_by_epoch`.
        """
        for epoch, plans in plans_by_epoch(self._split, seed=seed, **options):
            read = partial(self._batch, part=part, seed=seed, epoch=epoch)
            yield epoch, _ahead(read, plans)

    def _batch(self, plan: BatchPlan, part: slice, seed: int, epoch: int) -> Batch:
        positions = align("split", self._split.indices, plan.ids)
        views = drawn_views(self._layout.n_views, plan, seed=seed, epoch=epoch)[:, part]
        first_rows = self._place[positions[part]] * self._layout.rows_of_an_image
        return Batch(torch.from_numpy(positions), self._read((first_rows + views).ravel()))

    def evaluation_batches(self, positions: np.ndarray, *, batch_size: int) -> Iterator[Tensor]:
        """Evaluation views of the given positions in order, float16 (≤ batch_size, …) at a time."""
        layout, place = self._layout, self._place[positions]
        of_train = place * layout.rows_of_an_image + layout.n_views
        of_test = layout.n_train * layout.rows_of_an_image + place - layout.n_train
        rows = np.where(place < layout.n_train, of_train, of_test)
        parts = [rows[begin : begin + batch_size] for begin in range(0, len(rows), batch_size)]
        return _ahead(self._read, parts)

    def _read(self, rows: np.ndarray) -> Tensor:
        for chunk in np.unique(self._layout.chunks_of(rows)):
            if not self._is_checked[chunk]:
                self._check(int(chunk))
        views = torch.empty((len(rows), *self._shape), dtype=torch.float16, pin_memory=self._pinned)
        flat = views.numpy().reshape(len(rows), -1).view(np.uint8)
        for buffer, row in zip(flat, rows.tolist(), strict=True):
            self._fill(memoryview(buffer), row)
        return views

    def _fill(self, buffer: memoryview, row: int) -> None:
        """Read as many rows as the buffer takes, from a row on."""
        at = self._offset + row * self._row_bytes
        try:
            while buffer and (n := os.preadv(self._file.fileno(), [buffer], at)):
                buffer, at = buffer[n:], at + n
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read ({error.strerror})") from None
        if buffer:
            raise InputError(f"{self._path}: was cut off while it was read")

    def _check(self, chunk: int) -> None:
        first, end = self._layout.rows(chunk)
        data = np.empty((end - first) * self._row_bytes, dtype=np.uint8)
        self._fill(memoryview(data), first)
        if hashlib.sha256(data).hexdigest() != self._chunks[chunk]:
            reason = "is damaged: it does not fit its checksum"
        elif (data.view("<u2") & _EXPONENT).max() == _EXPONENT:
            reason = "holds NaN or infinite numbers"
        else:
            self._is_checked[chunk] = True
            return
        raise InputError(
            f"{self._path}: chunk {chunk + 1} of {len(self._chunks)} {reason}; delete the file to "
            "have it made again"
        )


def _ahead(read: Callable[[_Item], _Read], items: Iterable[_Item]) -> Iterator[_Read]:
    """Read the items in order, some of them before they are asked for."""
    n_readers = min(_MOST_READERS, torch.get_num_threads())
    with ThreadPoolExecutor(n_readers) as readers:
        begun: deque = deque()
        for item in items:
            begun.append(readers.submit(read, item))
            if len(begun) > n_readers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()

"""Making stored views: what the frozen part of a backbone gives for a number of views."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gcdflow.config.settings import ViewsSettings
from gcdflow.data.augmentation import Augmentation
from gcdflow.data.datasets import open_images
from gcdflow.data.datasets.images import Images
from gcdflow.data.loading import n_workers
from gcdflow.data.partial_views import PartialViews
from gcdflow.data.randomness import STORED_VIEWS_STREAM, uniforms
from gcdflow.data.view_files import Layout, Origin
from gcdflow.data.workers import Arrays, in_workers
from gcdflow.distributed.device import make_deterministic, resolve_device
from gcdflow.distributed.interruption import Interrupted
from gcdflow.errors import InputError
from gcdflow.files.formats import Split
from gcdflow.files.lease import Lease
from gcdflow.models.backbones import augmentation_of, build_backbone
from gcdflow.progress import Progress
from gcdflow.training.checkpoint import frozen_sha256

log = logging.getLogger(__name__)

# The views belong to no run, so no seed of a run counts.
_SEED, _EPOCH = 0, 0


@dataclass(frozen=True)
class _AllViews:
    """Maps positions to all views of their images; a pure function, so any process may call it.

    Attributes
    ----------
    n_views : int, random views of each image, before the one without randomness
    """

    images: Images
    augmentation: Augmentation
    ids: np.ndarray
    n_views: int

    def __call__(self, positions: np.ndarray) -> Arrays:
        """(B · (n_views + 1), C, H, W), image by image."""
        ids, n_draws = self.ids[positions], self.augmentation.n_draws
        images = self.images.read(positions, self.augmentation.shortest_side)
        prepared = self.augmentation.prepare(images)
        views = [
            self.augmentation.view(
                prepared, uniforms(n_draws, _SEED, _EPOCH, ids, number, STORED_VIEWS_STREAM)
            )
            for number in range(self.n_views)
        ]
        views.append(self.augmentation.evaluation_view(prepared))
        return (torch.stack(views, dim=1).flatten(0, 1).contiguous().numpy(),)


class ViewMaker:
    """Makes the rows of a file of stored views.

    Parameters
    ----------
    settings : ViewsSettings
    split : Split
    device : torch.device
    num_workers : int or None
        Processes that load images; None: as training has it.
    """

    def __init__(
        self,
        settings: ViewsSettings,
        split: Split,
        device: torch.device,
        num_workers: int | None = None,
    ):
        self._split, self._device = split, device
        self._augmentation = augmentation_of(settings)
        self._images = open_images(split.source, split.paths)
        self._num_workers = n_workers(num_workers, self._images, self._augmentation)
        torch.manual_seed(settings.seed or 0)  # as a training begins that has random weights
        backbone = build_backbone(settings.backbone, self._augmentation.image_size)
        self._backbone = backbone.to(device).eval()
        self.layout = Layout.of(split, settings.views)

    def shape(self) -> tuple[int, ...]:
        """Shape of a row, found with the first image."""
        (row,) = self._rows(np.zeros(1, dtype=np.int64), 0, 1, 0)
        return row.shape[1:]

    def chunks(self, first: int) -> Iterator[np.ndarray]:
        """All chunks from one on, float16 (rows of the chunk, …)."""
        layout, n_first = self.layout, min(first, self.layout.n_train_chunks)
        train, test = (np.flatnonzero(self._split.train_mask == kind) for kind in (True, False))
        yield from self._rows(
            train[n_first * layout.images_of_a_chunk :],
            layout.n_views,
            layout.images_of_a_chunk,
            self._num_workers,
        )
        yield from self._rows(
            test[(first - n_first) * layout.rows_of_a_chunk :],
            *(0, layout.rows_of_a_chunk, self._num_workers),
        )

    @torch.no_grad()
    def _rows(
        self, positions: np.ndarray, n_views: int, n_images: int, num_workers: int
    ) -> Iterator[np.ndarray]:
        made = _AllViews(self._images, self._augmentation, self._split.indices, n_views)
        chunks = [positions[i : i + n_images] for i in range(0, len(positions), n_images)]
        if not chunks:
            return
        loaded = in_workers(
            made, chunks, num_workers, lambda: n_images * made(positions[:1])[0].nbytes
        )
        with contextlib.closing(loaded):
            for (views,) in loaded:
                stored = self._backbone.frozen(torch.from_numpy(views).to(self._device))
                yield _as_float16(stored.float().cpu())


def _as_float16(stored: Tensor) -> np.ndarray:
    """The numbers as they are stored.

    Raises
    ------
    InputError
        If float16 cannot hold them. To clip them would train something else than fresh views do,
        without a word.
    """
    rounded = stored.half()
    if not rounded.isfinite().all():
        if stored.isfinite().all():
            most = float(torch.finfo(torch.float16).max)
            found = f"values up to {stored.abs().max():.4g}, float16 holds at most {most:g}"
        else:
            found = "values that are NaN or infinite"
        raise InputError(
            f"training.views: the frozen part of the backbone gives {found}; train with fresh "
            "views (training.views: null)"
        )
    return rounded.numpy()


def make_views(
    settings: ViewsSettings,
    split_path: Path,
    output: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    num_workers: int | None = None,
    result_version: int = 0,
) -> None:
    """Write a file of stored views, or what is left to do of one.

    Parameters
    ----------
    device, threads, num_workers
        As of :func:`gcdflow.training.segment.train_segment`.
    result_version : int
        What an earlier call left is gone on from only if it had the same number.

    Raises
    ------
    InputError
        If an input is not valid, the disk has no room for the file, or another process makes it.
    Interrupted
        If a signal asked this process to end; all but the present chunk is kept.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = resolve_device(device)
    if chosen.type == "cpu":
        make_deterministic()
    split = Split.load(split_path)
    origin = Origin.of(settings, split, frozen_sha256(settings))
    with Lease(output) as lease:
        maker = ViewMaker(settings, split, chosen, num_workers)
        layout = maker.layout
        part = PartialViews(output, lease, origin, layout, maker.shape(), result_version)
        if part.n_done:
            log.info("%d of %d chunks are done already", part.n_done, layout.n_chunks)
        try:
            _add_chunks(maker, part)
            part.finish()
        except Interrupted as end:
            raise Interrupted(
                signal.Signals[end.signal_name],
                f" after {part.n_done} of {layout.n_chunks} chunks; they are kept, and the same "
                "call resumes from there",
            ) from None
        finally:
            part.close()


def _add_chunks(maker: ViewMaker, part: PartialViews) -> None:
    n_chunks = maker.layout.n_chunks
    progress = Progress(n_chunks, done=part.n_done)
    for rows in maker.chunks(part.n_done):
        part.add(rows)
        if progress.is_due(part.n_done):
            left = progress.left(part.n_done)
            log.info("%d of %d chunks are done, %s", part.n_done, n_chunks, left)

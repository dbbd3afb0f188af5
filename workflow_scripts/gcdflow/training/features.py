"""Feature extraction: a checkpoint's backbone over every image of the split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gcdflow.clustering.guidance import collapse
from gcdflow.data.datasets import open_images
from gcdflow.data.datasets.images import Images
from gcdflow.data.loading import evaluation_batches
from gcdflow.distributed.device import resolve_device
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.files.formats import Features, Split
from gcdflow.models.backbones import augmentation_of
from gcdflow.progress import Progress
from gcdflow.training.checkpoint import Checkpoint, restore_model
from gcdflow.training.inputs import open_views

log = logging.getLogger(__name__)

_BATCH_SIZE = 64


@torch.no_grad()
def extract_features(
    checkpoint_path: Path,
    split_path: Path,
    views_path: Path | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    batch_size: int = _BATCH_SIZE,
    num_workers: int | None = None,
    weights: Path | None = None,
) -> Features:
    """Backbone features of all samples, training and test, in the split's order.

    Parameters
    ----------
    views_path : path of stored views to start from, or None: to start from the images
    weights : path of the backbone's weight file, if the run names one

    Returns
    -------
    Features
        Not normalised; float32.

    Raises
    ------
    InputError
        If a file is not valid, the checkpoint was trained on another split, or a feature is not
        finite.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint, split = Checkpoint.load(checkpoint_path), Split.load(split_path)
    if checkpoint.split_sha256 != sha256_file(split_path):
        raise InputError(f"{checkpoint_path}: was trained on another split than {split_path}")
    chosen = resolve_device(device)
    backbone = restore_model(checkpoint_path, checkpoint, weights).backbone.to(chosen).eval()
    n = len(split.indices)
    if views_path is None:
        part = backbone
        batches = evaluation_batches(
            open_images(split.source, split.paths),
            augmentation_of(checkpoint.settings),
            np.arange(n),
            batch_size=batch_size,
            num_workers=num_workers,
        )
    else:
        stored = open_views(
            checkpoint.settings, views_path, split, checkpoint.frozen_sha256, chosen
        )
        batches = stored.evaluation_batches(np.arange(n), batch_size=batch_size)

        def part(batch: Tensor) -> Tensor:
            return backbone.trained(batch.float())

    found = Features(
        indices=split.indices,
        features=_computed(part, batches, n, chosen, checkpoint_path),
        labels=split.labels,
        train_mask=split.train_mask,
        metadata={
            "checkpoint": checkpoint_path.name,
            "checkpoint_sha256": sha256_file(checkpoint_path),
            "epoch": checkpoint.epoch,
            "fingerprint": checkpoint.fingerprint,
        },
    )
    if said := collapse(found.mean_cosine):
        log.warning("%s: %s", checkpoint_path, said)
    return found


@torch.no_grad()
def features_of_images(
    checkpoint_path: Path,
    images: Images,
    *,
    device: str = "auto",
    threads: int | None = None,
    num_workers: int | None = None,
    weights: Path | None = None,
) -> np.ndarray:
    """Backbone features of any images, float32 (n, d), not normalised.

    Parameters
    ----------
    images : Images, at least one
    weights : path of the backbone's weight file, wherever the checkpoint says that it is

    Raises
    ------
    InputError
        If the checkpoint or an image is not valid, or a feature is not finite.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint, chosen = Checkpoint.load(checkpoint_path), resolve_device(device)
    backbone = restore_model(checkpoint_path, checkpoint, weights).backbone.to(chosen).eval()
    batches = evaluation_batches(
        images,
        augmentation_of(checkpoint.settings),
        np.arange(len(images)),
        batch_size=_BATCH_SIZE,
        num_workers=num_workers,
    )
    return _computed(backbone, batches, len(images), chosen, checkpoint_path)


def _computed(
    part: Callable[[Tensor], Tensor],
    batches: Iterable[Tensor],
    n: int,
    device: torch.device,
    checkpoint_path: Path,
) -> np.ndarray:
    """What a backbone, or the end of one, makes of all batches, float32 (n, d)."""
    parts, done, progress = [], 0, Progress(n)
    for batch in batches:
        parts.append(part(batch.to(device)).float().cpu().numpy())
        done += len(batch)
        if progress.is_due(done):
            log.info("features of %d/%d images, %s", done, n, progress.left(done))
    features = np.concatenate(parts)
    if not np.isfinite(features).all():
        raise InputError(f"{checkpoint_path}: its features are NaN or infinite; train it again")
    return features

"""What a training segment reads: its files, their checksums, and the batches made from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gcdflow.config.settings import TrainSettings
from gcdflow.data.datasets import open_images
from gcdflow.data.loading import N_VIEWS, Batch, evaluation_batches, training_batches
from gcdflow.data.sampling import batches_per_epoch
from gcdflow.data.stored_views import StoredViews
from gcdflow.data.view_files import Origin
from gcdflow.distributed.device import check_mixed_precision
from gcdflow.distributed.ranks import Ranks
from gcdflow.errors import InputError
from gcdflow.files.atomic import canonical_json, sha256_file, sha256_text
from gcdflow.files.formats import Split
from gcdflow.models.backbones import augmentation_of
from gcdflow.training.checkpoint import fingerprint, frozen_sha256, identified
from gcdflow.training.objective import Objective
from gcdflow.training.pseudo_targets import PseudoTargets
from gcdflow.training.segment_files import SegmentFiles
from gcdflow.training.simgcd import SimGCD, check_number_of_prototypes


class SegmentInputs:
    """The inputs of a segment, read and checked.

    Attributes
    ----------
    split : Split
    objective : Objective
        The loss, with the labels and pseudo labels that it needs.
    n_steps : int
        Steps of an epoch.
    split_sha256, pseudo_sha256, frozen_sha256 : str; the last two None where there is no such file
    identity : TrainSettings
        The settings that checkpoints are compared by: they name the weight file by its SHA-256.
    key : str
        What a rolling checkpoint must agree on to be of this very segment.
    """

    def __init__(
        self,
        settings: TrainSettings,
        files: SegmentFiles,
        *,
        stop_at_epoch: int,
        ranks: Ranks,
        num_workers: int | None,
        result_version: int,
    ):
        self._settings, self._ranks = settings, ranks
        self.split = Split.load(files.split)
        self.split_sha256 = sha256_file(files.split)
        self.frozen_sha256 = frozen_sha256(settings)
        self.identity = identified(settings, self.frozen_sha256)
        self._stored = None
        if stop_at_epoch > 0:  # a checkpoint of epoch 0 needs none
            self._stored = open_views(
                settings, files.views, self.split, self.frozen_sha256, ranks.device
            )
        self._images = open_images(self.split.source, self.split.paths)
        self._augmentation = augmentation_of(settings)
        self._num_workers = None if num_workers is None else ranks.share(num_workers)
        n_train, options = int(self.split.train_mask.sum()), settings.training
        self.n_steps = batches_per_epoch(n_train, options.batch_size, options.min_steps)
        pseudo, self.pseudo_sha256 = None, None
        if files.pseudo_labels is not None:
            self.pseudo_sha256 = sha256_file(files.pseudo_labels)
            if settings.has_classifier:
                pseudo = PseudoTargets.for_classifier(files.pseudo_labels, self.split)
            else:
                pseudo = PseudoTargets.select(files.pseudo_labels, self.split, settings)
        self._neighbours = None if pseudo is None else pseudo.sampled(self.split, settings)
        objective = Objective
        if settings.has_classifier:
            check_number_of_prototypes(settings, self.split)
            objective = SimGCD
        self.objective = objective(settings, torch.from_numpy(self.split.labels), pseudo)
        resume_sha256 = None if files.resume_from is None else sha256_file(files.resume_from)
        inputs = [resume_sha256, self.pseudo_sha256, self.frozen_sha256]
        inputs += [stop_at_epoch, result_version]
        inputs += [] if self._stored is None else [self._stored.sha256]
        own = fingerprint(self.identity, self.split_sha256)
        self.key = sha256_text(canonical_json([own, inputs]))

    @property
    def are_stored(self) -> bool:
        """Whether batches hold what the frozen part of the backbone gave, and not images."""
        return self._stored is not None

    def training_batches(
        self, epochs: range, first_step: int
    ) -> Iterator[tuple[int, Iterable[Batch]]]:
        """This rank's part of the batches, epoch by epoch, without the first ones that are done."""
        options = {
            "epochs": epochs,
            "first_step": first_step,
            "part": self._ranks.part,
            "batch_size": self._settings.training.batch_size,
            "min_steps": self._settings.training.min_steps,
            "seed": self._settings.seed,
            "neighbours": self._neighbours,
        }
        if self._stored is not None:
            return self._stored.training_batches(**options)
        return training_batches(
            *(self.split, self._images, self._augmentation),
            **options,
            num_workers=self._num_workers,
        )

    def evaluation_batches(self, positions: np.ndarray) -> Iterator[Tensor]:
        """Evaluation views of some positions, as many at a time as a step has views."""
        batch_size = N_VIEWS * self._settings.training.batch_size // self._ranks.size
        if self._stored is not None:
            return self._stored.evaluation_batches(positions, batch_size=batch_size)
        return evaluation_batches(
            self._images,
            self._augmentation,
            positions,
            batch_size=batch_size,
            num_workers=self._num_workers,
        )


def open_views(
    settings: TrainSettings,
    path: Path | None,
    split: Split,
    weights_sha256: str | None,
    device: torch.device,
) -> StoredViews | None:
    """The stored views that a training with these settings starts from, if it does.

    Parameters
    ----------
    weights_sha256 : str or None
        Of the weight file of the backbone.
    device : torch.device
        That computes with them.

    Raises
    ------
    InputError
        If they are not those that the settings ask for.
    """
    stored = settings.views_settings()
    if (path is None) != (stored is None):
        raise InputError(
            "stored views and their number belong together: found "
            f"views = {path}, training.views = {settings.training.views}"
        )
    if path is None:
        return None
    origin = Origin.of(stored, split, weights_sha256)
    return StoredViews(path, split, origin, pinned=device.type == "cuda")


def check_segment(
    settings: TrainSettings, files: SegmentFiles, stop_at_epoch: int, ranks: Ranks
) -> None:
    """Refuse what cannot be trained, before any file is read (InputError)."""
    if (files.pseudo_labels is None) == settings.takes_pseudo_labels:
        raise InputError(
            "pseudo labels and the settings that need them belong together: found pseudo_labels = "
            f"{files.pseudo_labels}, pseudo settings = {settings.pseudo}, objective = "
            f"{settings.objective!r}"
        )
    if stop_at_epoch > settings.total_epochs:
        raise InputError(
            f"--stop-at-epoch {stop_at_epoch} is beyond total_epochs = {settings.total_epochs}"
        )
    if files.pseudo_labels is not None and files.resume_from is None:
        raise InputError(
            "pseudo labels need a trained model; name its checkpoint with --resume-from-ckpt"
        )
    settings.training.check_shared_by(ranks.size)
    if settings.training.mixed_precision:
        check_mixed_precision(ranks.device)

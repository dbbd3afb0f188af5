"""One training segment: from a checkpoint (or from nothing) to the end of an epoch.

A segment may be killed at any moment. After each epoch it leaves a rolling checkpoint, from which
the same call goes on; since all randomness is stateless (see :mod:`gcdflow.randomness`), the result
does not depend on where it was cut.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gcdflow.atomic import canonical_json, sha256_file, sha256_text
from gcdflow.augmentation import build_augmentation
from gcdflow.checkpoint import (
    Checkpoint,
    Model,
    fingerprint,
    frozen_sha256,
    restore_model,
    stored_weights,
)
from gcdflow.datasets import open_images
from gcdflow.device import check_mixed_precision, make_deterministic, resolve_device
from gcdflow.errors import InputError
from gcdflow.event_log import EventLog, event_file, remove_overlapping
from gcdflow.formats import Split
from gcdflow.loading import Batch, default_workers, evaluation_batches, training_batches
from gcdflow.losses.infonce import info_nce
from gcdflow.losses.prototypical import cluster_prototypes, prototypical, update_prototypes
from gcdflow.losses.schedule import cosine_lr, gamma
from gcdflow.losses.supcon import sup_con
from gcdflow.pseudo_targets import PseudoTargets
from gcdflow.randomness import hash_keys
from gcdflow.settings import TrainSettings

log = logging.getLogger(__name__)

_TORCH_STREAM = 3  # apart from the streams of sampling and augmentation


@dataclass(frozen=True)
class SegmentFiles:
    """Files of one segment.

    Attributes
    ----------
    split : path of ``split.npz``
    output : path of the checkpoint to write
    rolling : path of the rolling checkpoint; deleted when the segment is done
    log_dir : directory of TensorBoard event files, or None
    resume_from : path of the checkpoint to go on from, or None to begin
    pseudo_labels : path of ``pseudo_epoch*.npz``, or None in the warm-up
    """

    split: Path
    output: Path
    rolling: Path
    log_dir: Path | None = None
    resume_from: Path | None = None
    pseudo_labels: Path | None = None


class Segment:
    """The state of a running segment; see :func:`train_segment`."""

    def __init__(
        self,
        settings: TrainSettings,
        files: SegmentFiles,
        *,
        stop_at_epoch: int,
        device: torch.device,
        num_workers: int | None,
    ):
        self.settings, self.files, self.device = settings, files, device
        self.stop_at_epoch = stop_at_epoch
        self.split = Split.load(files.split)
        self.split_sha256 = sha256_file(files.split)
        self.images = open_images(self.split.source, self.split.paths)
        self.augmentation = build_augmentation(settings.augmentation)
        self.num_workers = (
            default_workers(self.images, self.augmentation) if num_workers is None else num_workers
        )
        self.labels = torch.from_numpy(self.split.labels)
        self.pseudo_sha256 = (
            None if files.pseudo_labels is None else sha256_file(files.pseudo_labels)
        )
        self.frozen_sha256 = frozen_sha256(settings)
        self.pseudo = None
        if files.pseudo_labels is not None:
            self.pseudo = PseudoTargets.select(files.pseudo_labels, self.split, settings)
        self.resume_sha256 = None if files.resume_from is None else sha256_file(files.resume_from)
        self._restore()

    # -- state ------------------------------------------------------------------------------------

    def _rolling_key(self) -> str:
        """What a rolling checkpoint must agree on to be of this very segment."""
        inputs = [self.resume_sha256, self.pseudo_sha256, self.frozen_sha256, self.stop_at_epoch]
        return sha256_text(canonical_json([fingerprint(self.settings, self.split_sha256), inputs]))

    def _restore(self) -> None:
        path, checkpoint = self.files.rolling, self._rolling_checkpoint()
        if checkpoint is None:
            path, checkpoint = self.files.resume_from, self._starting_checkpoint()
        if checkpoint is None:
            torch.manual_seed(self.settings.seed)
            self.model = Model(self.settings)
        else:
            self.model = restore_model(path, checkpoint)
        self.model.to(self.device)
        self.start_epoch = self.epoch = 0 if checkpoint is None else checkpoint.epoch
        self._build_optimizer(checkpoint)
        self.prototypes = None
        if checkpoint is not None and checkpoint.pseudo_sha256 == self.pseudo_sha256:
            self.prototypes = checkpoint.prototypes
        self._open_log({} if checkpoint is None else checkpoint.rolling)

    def _starting_checkpoint(self) -> Checkpoint | None:
        path = self.files.resume_from
        if path is None:
            return None
        checkpoint = Checkpoint.load(path)
        checkpoint.check_continues(path, self.settings, self.split_sha256)
        if checkpoint.epoch >= self.stop_at_epoch:
            raise InputError(
                f"{path}: is of epoch {checkpoint.epoch}; there is nothing to train up to epoch "
                f"{self.stop_at_epoch}"
            )
        return checkpoint

    def _rolling_checkpoint(self) -> Checkpoint | None:
        """The rolling checkpoint of this very segment, if there is one; others are refused."""
        path = self.files.rolling
        if not path.exists():
            return None
        try:
            checkpoint = Checkpoint.load(path)
        except InputError as error:
            log.warning("ignoring the rolling checkpoint: %s", error)
            return None
        if checkpoint.rolling.get("key") != self._rolling_key():
            log.warning("ignoring %s: it was left by a segment with other settings or inputs", path)
            return None
        log.info("going on after epoch %d from %s", checkpoint.epoch, path)
        return checkpoint

    def _build_optimizer(self, checkpoint: Checkpoint | None) -> None:
        options = self.settings.training
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(
            parameters,
            lr=options.lr,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            # The step after the last epoch asks for a rate that nobody will use.
            lambda done: (
                cosine_lr(
                    min(done + 1, self.settings.total_epochs),
                    total_epochs=self.settings.total_epochs,
                    lr=options.lr,
                    final_factor=options.final_lr_factor,
                )
                / options.lr
            ),
        )
        if checkpoint is not None:
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.scheduler.load_state_dict(checkpoint.scheduler)

    def _checkpoint(self, rolling: dict | None = None) -> Checkpoint:
        return Checkpoint(
            epoch=self.epoch,
            settings=self.settings,
            split_sha256=self.split_sha256,
            weights=stored_weights(self.model, self.settings),
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict(),
            frozen_sha256=self.frozen_sha256,
            prototypes=None if self.prototypes is None else self.prototypes.cpu(),
            pseudo_sha256=self.pseudo_sha256,
            rolling=rolling or {},
        )

    def _open_log(self, rolling: dict) -> None:
        """Open the segment's event file, cut to what the rolling checkpoint knows of."""
        self.events = None
        if self.files.log_dir is None:
            return
        first = rolling.get("first_epoch", self.start_epoch + 1)
        path = event_file(self.files.log_dir, "train", first, self.stop_at_epoch)
        remove_overlapping(self.files.log_dir, "train", first, self.stop_at_epoch)
        self.first_logged_epoch = first
        if "log_length" in rolling:
            self.events = EventLog.resume(path, rolling["log_length"])
        else:
            self.events = EventLog.create(path)

    # -- training ---------------------------------------------------------------------------------

    def run(self) -> Checkpoint:
        """Train to ``stop_at_epoch``, write the checkpoint, and clean up."""
        options = self.settings.training
        epochs = range(self.start_epoch + 1, self.stop_at_epoch + 1)
        for epoch, batches in training_batches(
            self.split,
            self.images,
            self.augmentation,
            epochs=epochs,
            batch_size=options.batch_size,
            seed=self.settings.seed,
            num_workers=self.num_workers,
        ):
            values = self._train_epoch(epoch, batches)
            self.epoch = epoch
            self._finish_epoch(values)
        checkpoint = self._checkpoint()
        checkpoint.save(self.files.output)
        if self.events is not None:
            self.events.close()
        self.files.rolling.unlink(missing_ok=True)
        return checkpoint

    def _train_epoch(self, epoch: int, batches: Iterable[Batch]) -> dict[str, float]:
        """One epoch; the mean of each part of the loss, and what else is monitored."""
        self.model.train()
        self._prepare_prototypes()
        began, n_images, n_steps = time.monotonic(), 0, 0
        sums: dict[str, Tensor] = {}
        for step, batch in enumerate(batches):
            torch.manual_seed(int(hash_keys(self.settings.seed, epoch, step, _TORCH_STREAM)) >> 1)
            losses = self._losses(epoch, batch)
            self.optimizer.zero_grad(set_to_none=True)
            losses["L_total"].backward()
            self.optimizer.step()
            for name, loss in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + loss.detach()
            n_images += len(batch.positions)
            n_steps += 1
        values = {name: float(total) / n_steps for name, total in sums.items()}
        bad = {name: value for name, value in values.items() if not math.isfinite(value)}
        if bad:
            raise InputError(
                f"epoch {epoch}: the loss is not finite ({bad}); the last good state is kept; try "
                f"a smaller training.lr (now {self.settings.training.lr}) or larger temperatures"
            )
        values["gamma"] = self._gamma(epoch)
        values["learning_rate"] = self.scheduler.get_last_lr()[0]
        values["images_per_second"] = n_images / (time.monotonic() - began)
        self.scheduler.step()
        return values

    def _finish_epoch(self, values: dict[str, float]) -> None:
        """Log, and leave a rolling checkpoint that knows how long the log is."""
        rolling: dict = {"key": self._rolling_key()}
        if self.events is not None:
            self.events.scalars(self.epoch, values)
            rolling["log_length"] = self.events.flush()
            rolling["first_epoch"] = self.first_logged_epoch
        if self.epoch < self.stop_at_epoch:
            self._checkpoint(rolling).save(self.files.rolling)
        parts = " ".join(f"{n} {v:.4f}" for n, v in values.items() if n.startswith("L_"))
        log.info(
            "epoch %d/%d  %s  gamma %.2f  lr %.4f  %.0f images/s",
            self.epoch,
            self.stop_at_epoch,
            parts,
            values["gamma"],
            values["learning_rate"],
            values["images_per_second"],
        )

    def _embed(self, images: Tensor) -> Tensor:
        """Embeddings (B, out_dim), float32 also where the model computes in bfloat16."""
        mixed = self.settings.training.mixed_precision
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            return self.model(images.to(self.device, non_blocking=True))

    def _gamma(self, epoch: int) -> float:
        if self.pseudo is None:
            return 0.0
        return gamma(
            epoch,
            warmup_epochs=self.settings.warmup_epochs,
            total_epochs=self.settings.total_epochs,
            gamma_ramp_epochs=self.settings.pseudo.gamma_ramp_epochs,
        )

    def _losses(self, epoch: int, batch: Batch) -> dict[str, Tensor]:
        """The loss of one step and its parts (design section 5)."""
        options = self.settings.training
        z = self._embed(batch.views)
        z1, z2 = z.chunk(2)
        labels = self.labels[batch.positions]
        labelled = labels >= 0
        chosen = torch.ones_like(labelled) if options.contrast_samples == "all" else ~labelled
        chosen = chosen.to(self.device)
        losses = {
            "L_contrast": info_nce(
                z1[chosen], z2[chosen], temperature=options.contrast_temperature
            ),
            "L_supcon": sup_con(
                *_both_views(z1, z2, labels, labelled), temperature=options.sup_con_temperature
            ),
        }
        w = options.sup_con_weight
        total = (1 - w) * losses["L_contrast"] + w * losses["L_supcon"]
        strength = self._gamma(epoch)
        if self.pseudo is not None:
            strength *= self.settings.pseudo.pseudo_loss_weight
        if strength > 0:
            losses["L_pseudo"] = self._pseudo_loss(z1, z2, batch.positions)
            total = total + strength * losses["L_pseudo"]
        return {"L_total": total, **losses}

    def _pseudo_loss(self, z1: Tensor, z2: Tensor, positions: Tensor) -> Tensor:
        options = self.settings.pseudo
        labels = self.pseudo.labels[positions]
        counts = labels >= 0
        z, chosen_labels = _both_views(z1, z2, labels, counts)
        weights = self.pseudo.weights[positions][counts].to(self.device).repeat(2)
        if options.loss == "supcon":
            return sup_con(z, chosen_labels, temperature=options.temperature, weights=weights)
        loss = prototypical(
            z, chosen_labels, self.prototypes, temperature=options.temperature, weights=weights
        )
        self.prototypes = update_prototypes(
            self.prototypes, z.detach(), chosen_labels, momentum=options.prototype_momentum
        )
        return loss

    @torch.no_grad()
    def _prepare_prototypes(self) -> None:
        """Prototypes of the prototypical loss: cluster means under the present model, once."""
        if self.pseudo is None or self.settings.pseudo.loss != "prototypical":
            return
        if self.prototypes is not None:
            self.prototypes = self.prototypes.to(self.device)
            return
        positions = np.flatnonzero(self.pseudo.labels.numpy() >= 0)
        self.model.eval()
        batches = evaluation_batches(
            self.images,
            self.augmentation,
            positions,
            batch_size=2 * self.settings.training.batch_size,
            num_workers=self.num_workers,
        )
        z = torch.cat([self._embed(images) for images in batches])
        labels = self.pseudo.labels[positions].to(self.device)
        self.prototypes = cluster_prototypes(z, labels, self.pseudo.n_clusters)
        self.model.train()


def _both_views(z1: Tensor, z2: Tensor, labels: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings and labels of the chosen samples, first views then second views."""
    mask = chosen.to(z1.device)
    return torch.cat([z1[mask], z2[mask]]), labels[chosen].to(z1.device).repeat(2)


def train_segment(
    settings: TrainSettings,
    files: SegmentFiles,
    *,
    stop_at_epoch: int,
    device: str = "auto",
    threads: int | None = None,
    num_workers: int | None = None,
) -> Checkpoint:
    """Train one segment and write its checkpoint.

    Parameters
    ----------
    stop_at_epoch : int
        Epoch at whose end the checkpoint is written.
    device : str
        ``cpu``, ``cuda``, ``cuda:1`` … or ``auto`` (a GPU if there is one).
    threads : int or None
        CPU threads of PyTorch; the sums of a CPU training depend on them in the last bits.
    num_workers : int or None
        Processes that load images; None: one for each thread, none for small images in memory.
        They change nothing but speed.

    Raises
    ------
    InputError
        If an input file or the combination of inputs is not valid, or the loss is not finite.
    """
    if (files.pseudo_labels is None) != (settings.pseudo is None):
        raise InputError(
            "pseudo labels and the settings of their loss belong together: found "
            f"pseudo_labels = {files.pseudo_labels}, pseudo settings = {settings.pseudo}"
        )
    if stop_at_epoch > settings.total_epochs:
        raise InputError(
            f"--stop-at-epoch {stop_at_epoch} is beyond total_epochs = {settings.total_epochs}"
        )
    if files.pseudo_labels is not None and files.resume_from is None:
        raise InputError("pseudo labels guide a trained model: a checkpoint to resume is needed")
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = resolve_device(device)
    if settings.training.mixed_precision:
        check_mixed_precision(chosen)
    if settings.training.deterministic or chosen.type == "cpu":
        make_deterministic()
    segment = Segment(
        settings, files, stop_at_epoch=stop_at_epoch, device=chosen, num_workers=num_workers
    )
    return segment.run()

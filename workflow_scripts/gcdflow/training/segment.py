"""One training segment: from a checkpoint (or from nothing) to the end of an epoch.

A segment may be killed at any moment. After each epoch, and after the present step when a signal
asks it to end, it leaves a rolling checkpoint, from which the same call resumes; since all
randomness is stateless (see :mod:`gcdflow.data.randomness`), the result does not depend on where it
was cut.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gcdflow.config.settings import TrainSettings
from gcdflow.data.datasets import open_images
from gcdflow.data.loading import (
    N_VIEWS,
    Batch,
    default_workers,
    evaluation_batches,
    training_batches,
)
from gcdflow.data.randomness import hash_keys
from gcdflow.data.sampling import batches_per_epoch
from gcdflow.distributed.batch_norm import synchronise_batch_norm
from gcdflow.distributed.device import check_mixed_precision, make_deterministic
from gcdflow.distributed.interruption import Deferred
from gcdflow.distributed.ranks import Ranks, joined
from gcdflow.errors import InputError
from gcdflow.files.atomic import canonical_json, sha256_file, sha256_text
from gcdflow.files.event_log import EventLog, event_file, remove_overlapping, restore_missing
from gcdflow.files.formats import Split
from gcdflow.files.lease import Lease
from gcdflow.losses.prototypical import cluster_prototypes
from gcdflow.models.backbones import augmentation_of
from gcdflow.models.model import Model
from gcdflow.training.checkpoint import (
    Checkpoint,
    fingerprint,
    frozen_sha256,
    identified,
    restore_model,
    stored_weights,
)
from gcdflow.training.objective import Objective
from gcdflow.training.pseudo_targets import PseudoTargets
from gcdflow.training.schedule import cosine_lr
from gcdflow.training.segment_files import SegmentFiles

log = logging.getLogger(__name__)

SPEED = "images_per_second"  # the one value that two equal trainings do not share
_TORCH_STREAM = 3  # apart from the streams of sampling and augmentation


class Segment:
    """The state of a running segment; see :func:`train_segment`."""

    def __init__(
        self,
        settings: TrainSettings,
        files: SegmentFiles,
        *,
        stop_at_epoch: int,
        ranks: Ranks,
        num_workers: int | None,
        result_version: int = 0,
    ):
        self.settings, self.files = settings, files
        self.ranks, self.device = ranks, ranks.device
        self.stop_at_epoch = stop_at_epoch
        self.split = Split.load(files.split)
        self.split_sha256 = sha256_file(files.split)
        self.images = open_images(self.split.source, self.split.paths)
        self.augmentation = augmentation_of(settings)
        if num_workers is None:
            self.num_workers = default_workers(self.images, self.augmentation)
        else:
            self.num_workers = ranks.share(num_workers)
        n_train = int(self.split.train_mask.sum())
        self.n_steps = batches_per_epoch(n_train, settings.training.batch_size)
        self.pseudo_sha256 = (
            None if files.pseudo_labels is None else sha256_file(files.pseudo_labels)
        )
        self.frozen_sha256 = frozen_sha256(settings)
        # What checkpoints are compared by: the weight file, wherever it lies.
        self.identity = identified(settings, self.frozen_sha256)
        pseudo = None
        if files.pseudo_labels is not None:
            pseudo = PseudoTargets.select(files.pseudo_labels, self.split, settings)
        self.objective = Objective(settings, torch.from_numpy(self.split.labels), pseudo)
        resume_sha256 = None if files.resume_from is None else sha256_file(files.resume_from)
        inputs = [resume_sha256, self.pseudo_sha256, self.frozen_sha256]
        inputs += [stop_at_epoch, result_version]
        # What a rolling checkpoint must agree on to be of this very segment.
        own = fingerprint(self.identity, self.split_sha256)
        self.key = sha256_text(canonical_json([own, inputs]))

    # -- state ------------------------------------------------------------------------------------

    def _restore(self) -> None:
        path, checkpoint = self.files.rolling, self.files.rolling_checkpoint(self.key)
        if checkpoint is None:
            path = self.files.resume_from
            checkpoint = self.files.starting_checkpoint(
                self.identity, self.split_sha256, self.stop_at_epoch
            )
        if checkpoint is None:
            torch.manual_seed(self.settings.seed)
            self.model = Model(self.settings)
        else:
            named = getattr(self.settings.backbone, "named_file", None)
            self.model = restore_model(path, checkpoint, named)
        self.model = synchronise_batch_norm(self.model.to(self.device), self.ranks)
        self.start_epoch = self.epoch = 0 if checkpoint is None else checkpoint.epoch
        self._build_optimizer(checkpoint)
        self.prototypes = None
        if checkpoint is not None and checkpoint.pseudo_sha256 == self.pseudo_sha256:
            self.prototypes = checkpoint.prototypes
        rolling = {} if checkpoint is None else checkpoint.rolling
        # Of an epoch that was cut off: steps that are done, and the sums of their losses.
        self.first_step, self.n_counted = rolling.get("step", 0), rolling.get("n_counted", 0)
        self.sums = {k: v.to(self.device) for k, v in rolling.get("sums", {}).items()}
        self.n_skipped = rolling.get("n_skipped", 0)
        self.history = {} if checkpoint is None else checkpoint.history
        # What tells of time is kept apart: equal trainings have equal checkpoints.
        self.speeds: dict[int, float] = rolling.get("speeds", {})
        self.first_epoch = rolling.get("first_epoch", self.start_epoch + 1)
        self._open_log()

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
            settings=self.identity,
            split_sha256=self.split_sha256,
            weights=stored_weights(self.model, self.settings),
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict(),
            frozen_sha256=self.frozen_sha256,
            prototypes=None if self.prototypes is None else self.prototypes.cpu(),
            pseudo_sha256=self.pseudo_sha256,
            rolling=rolling or {},
            history=self.history,
        )

    def _open_log(self) -> None:
        """Write the segment's event file as the checkpoint knows it, and open it for more."""
        self.events = None
        log_dir, start = self.files.log_dir, self.first_epoch
        if log_dir is None or not self.ranks.is_first:
            return
        remove_overlapping(log_dir, "train", start, self.stop_at_epoch)
        earlier = {epoch: values for epoch, values in self.history.items() if epoch < start}
        restore_missing(log_dir, "train", earlier)
        own = {
            epoch: {**values, SPEED: self.speeds.get(epoch)}
            for epoch, values in self.history.items()
            if epoch >= start
        }
        self.events = EventLog(event_file(log_dir, "train", start, self.stop_at_epoch), own)

    # -- training ---------------------------------------------------------------------------------

    def run(self, lease: Lease | None, stop: Deferred) -> None:
        """Train to ``stop_at_epoch``, write the checkpoint, and clean up.

        Parameters
        ----------
        lease : Lease or None
            The right to write the rolling checkpoint and the output; the first rank has it.
        stop : Deferred
            Knows of a signal that asks for the end.
        """
        self.lease, self.stop = lease, stop
        finished = self.files.finished_checkpoint(self.key)
        if finished is not None:
            log.info("already trained to epoch %d; writing its checkpoint", finished.epoch)
            if self.ranks.is_first:
                self.files.restore_finished(self.key)
            self.ranks.wait()
            return
        self._restore()
        try:
            self._train()
            self._save(self.files.output)
        finally:
            if self.events is not None:
                self.events.close()
        if self.ranks.is_first:
            self.files.remember_finished(self.key)

    def _train(self) -> None:
        """All epochs that are left."""
        for epoch, batches in training_batches(
            self.split,
            self.images,
            self.augmentation,
            epochs=range(self.start_epoch + 1, self.stop_at_epoch + 1),
            first_step=self.first_step,
            part=self.ranks.part,
            batch_size=self.settings.training.batch_size,
            seed=self.settings.seed,
            num_workers=self.num_workers,
        ):
            values = self._train_epoch(epoch, batches)
            self.epoch = epoch
            self._finish_epoch(values)

    def _save(self, path: Path, rolling: dict | None = None) -> None:
        """Write a checkpoint: the first rank does, and the others wait until it exists."""
        if self.ranks.is_first:
            self.lease.check()
            self._checkpoint(rolling).save(path)
        self.ranks.wait()

    def _train_epoch(self, epoch: int, batches: Iterable[Batch]) -> dict[str, float]:
        """One epoch; the mean of each part of the loss, and what else is monitored."""
        self.model.train()
        self._prepare_prototypes()
        began, n_images = time.monotonic(), 0
        for step, batch in enumerate(batches, start=self.first_step):
            torch.manual_seed(int(hash_keys(self.settings.seed, epoch, step, _TORCH_STREAM)) >> 1)
            self._train_step(epoch, step, batch)
            n_images += len(batch.positions)
            if self.stop.requested() and step + 1 < self.n_steps:
                self._stop_within_epoch(epoch, step + 1)
        n_counted = max(self.n_counted, 1)  # of an epoch of bad steps there is nothing to log
        values = {name: float(total) / n_counted for name, total in self.sums.items()}
        self.first_step, self.n_counted, self.sums = 0, 0, {}
        values["gamma"] = self.objective.gamma(epoch)
        values["learning_rate"] = self.scheduler.get_last_lr()[0]
        values[SPEED] = n_images / (time.monotonic() - began)
        self.scheduler.step()
        return values

    def _train_step(self, epoch: int, step: int, batch: Batch) -> None:
        may_skip = self.settings.training.skip_bad_steps > 0
        buffers = [b.clone() for b in self.model.buffers()] if may_skip else []
        losses, prototypes = self._losses(epoch, batch)
        # Each rank asks for all, so that none goes another way than the others.
        if self.ranks.largest(int(not losses["L_total"].isfinite())):
            self._skip_or_stop(epoch, step, losses)
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)  # running means that saw the bad batch
            return
        self.optimizer.zero_grad(set_to_none=True)
        losses["L_total"].backward()
        self.ranks.sum_gradients(self.model.parameters())
        self.optimizer.step()
        self.prototypes = prototypes
        for name, loss in losses.items():
            total = self.sums.get(name, torch.zeros((), device=self.device))
            self.sums[name] = total + loss.detach()
        self.n_counted += 1

    def _skip_or_stop(self, epoch: int, step: int, losses: dict[str, Tensor]) -> None:
        """Count a step whose loss is not finite; InputError if there were too many."""
        allowed = self.settings.training.skip_bad_steps
        parts = ", ".join(f"{name} {loss.item():g}" for name, loss in losses.items())
        found = (
            f"epoch {epoch}, step {step + 1} of {self.n_steps}: the loss is not finite ({parts})"
        )
        self.n_skipped += 1
        if self.n_skipped > allowed:
            raise InputError(
                f"{found}; the last good state is kept in {self.files.rolling}; try a smaller "
                f"training.lr (now {self.settings.training.lr:g}) or larger temperatures, or let "
                f"training.skip_bad_steps (now {allowed}) leave such steps out"
            )
        log.warning("%s; left out, %d of at most %d", found, self.n_skipped, allowed)

    def _stop_within_epoch(self, epoch: int, done: int) -> None:
        """Save what is done of an epoch, and end."""
        rolling = {
            **self._rolling_state(),
            "step": done,
            "n_counted": self.n_counted,
            "sums": {name: total.cpu() for name, total in self.sums.items()},
        }
        self._save(self.files.rolling, rolling)
        self.stop.raise_if_requested(
            f" in epoch {epoch} after step {done} of {self.n_steps}; all of it is saved, and the "
            "same call resumes from there"
        )

    def _finish_epoch(self, values: dict[str, float]) -> None:
        """Log, and leave a rolling checkpoint."""
        if self.events is not None:
            self.events.scalars(self.epoch, values)
            self.events.flush()
        self.speeds[self.epoch] = values[SPEED]
        self.history[self.epoch] = {
            name: value for name, value in values.items() if name != SPEED and math.isfinite(value)
        }
        rolling = self._rolling_state()
        if self.epoch < self.stop_at_epoch:
            self._save(self.files.rolling, rolling)
        parts = " ".join(f"{n} {v:.4f}" for n, v in values.items() if n.startswith("L_"))
        log.info(
            "epoch %d/%d  %s  gamma %.2f  lr %.4f  %.0f images/s",
            self.epoch,
            self.stop_at_epoch,
            parts,
            values["gamma"],
            values["learning_rate"],
            values[SPEED],
        )
        if self.epoch < self.stop_at_epoch:
            self.stop.raise_if_requested(f" after epoch {self.epoch}; the same call resumes there")

    def _rolling_state(self) -> dict:
        """What a rolling checkpoint holds beside the state of the training."""
        return {
            "key": self.key,
            "n_skipped": self.n_skipped,
            "first_epoch": self.first_epoch,
            "speeds": self.speeds,
        }

    def _embed(self, images: Tensor) -> Tensor:
        """Embeddings (b, out_dim), float32 also where the model computes in bfloat16."""
        mixed = self.settings.training.mixed_precision
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            return self.model(images.to(self.device, non_blocking=True))

    def _losses(self, epoch: int, batch: Batch) -> tuple[dict[str, Tensor], Tensor | None]:
        """The loss of one step and its parts, and the prototypes after the step."""
        z = self.ranks.gather(self._embed(batch.views), N_VIEWS)
        losses, prototypes = self.objective.losses(
            epoch, *z.chunk(N_VIEWS), batch.positions, self.prototypes
        )
        if prototypes is not self.prototypes:  # they moved
            prototypes = self.ranks.from_first(prototypes)
        return losses, prototypes

    @torch.no_grad()
    def _prepare_prototypes(self) -> None:
        """Prototypes of the prototypical loss: cluster means under the present model, once."""
        pseudo = self.objective.pseudo
        if pseudo is None or self.settings.pseudo.loss != "prototypical":
            return
        if self.prototypes is not None:
            self.prototypes = self.prototypes.to(self.device)
            return
        positions = np.flatnonzero(pseudo.labels.numpy() >= 0)
        n, size = len(positions), self.ranks.size
        padded = np.resize(positions, -(-n // size) * size)  # each rank has as many
        self.model.eval()
        batches = evaluation_batches(
            self.images,
            self.augmentation,
            padded[self.ranks.part],
            batch_size=N_VIEWS * self.settings.training.batch_size // size,
            num_workers=self.num_workers,
        )
        parts = []
        for images in batches:
            parts.append(self._embed(images))
            self.stop.raise_if_requested("; the same call resumes after the last whole epoch")
        z = self.ranks.gather(torch.cat(parts))[:n]
        labels = pseudo.labels[positions].to(self.device)
        prototypes = cluster_prototypes(z, labels, pseudo.n_clusters)
        self.prototypes = self.ranks.from_first(prototypes)
        self.model.train()


def train_segment(
    settings: TrainSettings,
    files: SegmentFiles,
    *,
    stop_at_epoch: int,
    device: str = "auto",
    threads: int | None = None,
    num_workers: int | None = None,
    result_version: int = 0,
) -> None:
    """Train one segment and write its checkpoint.

    If a launcher started this process as one of several ranks, all of them train it together (see
    :mod:`gcdflow.distributed.ranks`).

    Parameters
    ----------
    stop_at_epoch : int
        Epoch at whose end the checkpoint is written.
    device : str
        ``cpu``, ``cuda``, ``cuda:1`` … or ``auto`` (a GPU if there is one).
    threads : int or None
        CPU threads of PyTorch, of all ranks together; the sums of a CPU training depend on them in
        the last bits.
    num_workers : int or None
        Processes that load images, of all ranks together; None: one for each thread, none for small
        images in memory.
        They change nothing but speed.
    result_version : int
        What an earlier call left is gone on from only if it had the same number: whoever changes
        what training computes raises it.

    Raises
    ------
    InputError
        If an input file or the combination of inputs is not valid, the loss is not finite, or
        another process trains the same segment.
    Interrupted
        If a signal asked this process, or another rank, to end; what is done is saved.
    """
    with joined(device) as ranks:
        _check(settings, files, stop_at_epoch, ranks)
        if threads is not None or ranks.size > 1:
            torch.set_num_threads(ranks.share(threads or torch.get_num_threads()))
        if settings.training.deterministic or ranks.device.type == "cpu":
            make_deterministic()
        segment = Segment(
            settings,
            files,
            stop_at_epoch=stop_at_epoch,
            ranks=ranks,
            num_workers=num_workers,
            result_version=result_version,
        )
        lease = Lease(files.rolling) if ranks.is_first else contextlib.nullcontext()
        with lease as held, Deferred(ranks.largest if ranks.size > 1 else None) as stop:
            ranks.wait()  # nobody reads the rolling checkpoint before the lease is taken
            segment.run(held, stop)


def _check(settings: TrainSettings, files: SegmentFiles, stop_at_epoch: int, ranks: Ranks) -> None:
    """Refuse what cannot be trained, before any file is read (InputError)."""
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
    settings.training.check_shared_by(ranks.size)
    if settings.training.mixed_precision:
        check_mixed_precision(ranks.device)

"""One training segment: from a checkpoint (or from nothing) to the end of an epoch.

A segment may be killed at any moment. It writes a rolling checkpoint after each epoch, and after
the current step if a signal asks it to end; the same call resumes from there. All randomness is
stateless (see :mod:`gcdflow.data.randomness`), so the result does not depend on interruptions.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gcdflow.config.settings import TrainSettings
from gcdflow.data.loading import N_VIEWS, Batch
from gcdflow.data.randomness import TORCH_STREAM, hash_keys
from gcdflow.distributed.device import make_deterministic
from gcdflow.distributed.interruption import Deferred
from gcdflow.distributed.ranks import Ranks, joined
from gcdflow.errors import InputError
from gcdflow.files.lease import Lease
from gcdflow.losses.prototypical import cluster_prototypes
from gcdflow.models.head import in_random_directions_if_zero, unit_rows
from gcdflow.progress import Progress
from gcdflow.training.inputs import SegmentInputs, check_segment
from gcdflow.training.segment_files import SegmentFiles
from gcdflow.training.state import SPEED, TrainingState
from gcdflow.wording import per_second

log = logging.getLogger(__name__)


class Segment:
    """The loop of a segment; see :func:`train_segment`."""

    def __init__(
        self,
        settings: TrainSettings,
        files: SegmentFiles,
        inputs: SegmentInputs,
        ranks: Ranks,
        stop_at_epoch: int,
    ):
        self.settings, self.files, self.inputs = settings, files, inputs
        self.ranks, self.device = ranks, ranks.device
        self.stop_at_epoch = stop_at_epoch
        self.objective = inputs.objective

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
        finished = self.files.finished_checkpoint(self.inputs.key)
        if finished is not None:
            log.info("already trained to epoch %d; writing its checkpoint", finished.epoch)
            if self.ranks.is_first:
                self.files.restore_finished(self.inputs.key)
            self.ranks.wait()
            return
        self.state = TrainingState.restored(
            self.settings, self.files, self.inputs, self.ranks, self.stop_at_epoch
        )
        self.events = self.state.open_log(self.files.log_dir, self.stop_at_epoch)
        try:
            self._train()
            self._save(self.files.output)
        finally:
            if self.events is not None:
                self.events.close()
        if self.ranks.is_first:
            self.files.remember_finished(self.inputs.key)

    def _train(self) -> None:
        """All epochs that are left."""
        epochs = range(self.state.epoch + 1, self.stop_at_epoch + 1)
        done = self.state.epoch * self.inputs.n_steps + self.state.first_step
        self.progress = Progress(self.stop_at_epoch * self.inputs.n_steps, done=done)
        for epoch, batches in self.inputs.training_batches(epochs, self.state.first_step):
            self._finish_epoch(epoch, self._train_epoch(epoch, batches))

    def _save(self, path: Path, rolling: dict | None = None) -> None:
        """Write a checkpoint: the first rank does, and the others wait until it exists."""
        if self.ranks.is_first:
            self.lease.check()
            self.state.checkpoint(rolling).save(path)
        self.ranks.wait()

    def _train_epoch(self, epoch: int, batches: Iterable[Batch]) -> dict[str, float]:
        """One epoch; the mean of each part of the loss, and what else is monitored."""
        state = self.state
        state.model.train()
        self._prepare_prototypes()
        learning_rate = state.set_learning_rate(epoch)
        began, n_images = time.monotonic(), 0
        for step, batch in enumerate(batches, start=state.first_step):
            torch.manual_seed(int(hash_keys(self.settings.seed, epoch, step, TORCH_STREAM)) >> 1)
            self._train_step(epoch, step, batch)
            n_images += len(batch.positions)
            self._report(epoch, step + 1)
            if self.stop.requested() and step + 1 < self.inputs.n_steps:
                self._stop_within_epoch(epoch, step + 1)
        values = state.means()
        values |= self.objective.schedule(epoch)
        values["learning_rate"] = learning_rate
        values[SPEED] = n_images / (time.monotonic() - began)
        return values

    def _train_step(self, epoch: int, step: int, batch: Batch) -> None:
        state, model = self.state, self.state.model
        may_skip = self.settings.training.skip_bad_steps > 0
        buffers = [b.clone() for b in model.buffers()] if may_skip else []
        losses, prototypes = self._losses(epoch, batch)
        # Each rank asks for all, so that none goes another way than the others.
        if self.ranks.largest(int(not losses["L_total"].isfinite())):
            self._skip_or_stop(epoch, step, losses)
            for buffer, before in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(before)  # running means that saw the bad batch
            return
        state.optimizer.zero_grad(set_to_none=True)
        losses["L_total"].backward()
        self.ranks.sum_gradients(model.parameters())
        if state.trains_prototypes:  # every rank has their whole gradient: it knows all features
            state.prototypes.grad = self.ranks.from_first(state.prototypes.grad)
        state.optimizer.step()
        state.prototypes = prototypes
        state.count(losses)

    def _report(self, epoch: int, step: int) -> None:
        """Say how far a long epoch is, now and then."""
        n_steps, done = self.inputs.n_steps, (epoch - 1) * self.inputs.n_steps + step
        if step < n_steps and self.progress.is_due(done):
            log.info(
                "epoch %d/%d  step %d of %d, %s of this epoch, %s to epoch %d",
                *(epoch, self.stop_at_epoch, step, n_steps),
                self.progress.left(done, epoch * n_steps),
                *(self.progress.left(done), self.stop_at_epoch),
            )

    def _skip_or_stop(self, epoch: int, step: int, losses: dict[str, Tensor]) -> None:
        """Count a step whose loss is not finite; InputError if there were too many."""
        allowed, state = self.settings.training.skip_bad_steps, self.state
        parts = ", ".join(f"{name} {loss.item():g}" for name, loss in losses.items())
        found = (
            f"epoch {epoch}, step {step + 1} of {self.inputs.n_steps}: the loss is not finite "
            f"({parts})"
        )
        state.n_skipped += 1
        if state.n_skipped > allowed:
            raise InputError(
                f"{found}; whole epochs before it are kept; try a smaller training.lr (now "
                f"{self.settings.training.lr:g}) or larger temperatures, or let "
                f"training.skip_bad_steps (now {allowed}) leave such steps out"
            )
        log.warning("%s; left out, %d of at most %d", found, state.n_skipped, allowed)

    def _stop_within_epoch(self, epoch: int, done: int) -> None:
        """Save what is done of an epoch, and end."""
        self._save(self.files.rolling, self.state.rolling_within(done))
        self.stop.raise_if_requested(
            f" in epoch {epoch} after step {done} of {self.inputs.n_steps}; all of it is saved, "
            "and the same call resumes from there"
        )

    def _finish_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Log, and leave a rolling checkpoint."""
        if self.events is not None:
            self.events.scalars(epoch, values)
            self.events.flush()
        self.state.finish_epoch(epoch, values)
        if epoch < self.stop_at_epoch:
            self._save(self.files.rolling, self.state.rolling())
        parts = " ".join(f"{n} {v:.4f}" for n, v in values.items() if n.startswith("L_"))
        log.info(
            "epoch %d/%d  %s  %s  lr %.4f  %s%s",
            epoch,
            self.stop_at_epoch,
            parts,
            " ".join(f"{n} {v:.2f}" for n, v in self.objective.schedule(epoch).items()),
            values["learning_rate"],
            per_second(values[SPEED], "images"),
            self._time_left(epoch),
        )
        if epoch < self.stop_at_epoch:
            self.stop.raise_if_requested(f" after epoch {epoch}; the same call resumes there")

    def _time_left(self, epoch: int) -> str:
        """The time up to the end of the segment, after an epoch; empty at its end."""
        self.progress.has_reported()
        done = epoch * self.inputs.n_steps
        return f", {self.progress.left(done)}" if epoch < self.stop_at_epoch else ""

    def _embed(self, views: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embeddings (b, d), and features (b, feature_dim) of length 1 for a classifier.

        Both are float32, also where the model computes in bfloat16.
        """
        mixed, model = self.settings.training.mixed_precision, self.state.model
        views = views.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            stored = views.float() if self.inputs.are_stored else model.backbone.frozen(views)
            features = model.backbone.trained(stored)
            z = model.embed(features)
        return z, unit_rows(features) if self.objective.classifies else None

    def _losses(self, epoch: int, batch: Batch) -> tuple[dict[str, Tensor], Tensor | None]:
        """The loss of one step and its parts, and the prototypes after the step."""
        z, features = self._embed(batch.views)
        z = self.ranks.gather(z, N_VIEWS).chunk(N_VIEWS)
        if features is not None:
            features = self.ranks.gather(features, N_VIEWS).chunk(N_VIEWS)
        before = self.state.prototypes
        losses, prototypes = self.objective.losses(epoch, *z, batch.positions, before, features)
        if prototypes is not before:  # they moved
            prototypes = self.ranks.from_first(prototypes)
        return losses, prototypes

    @torch.no_grad()
    def _prepare_prototypes(self) -> None:
        """Prototypes from clusters: their means under the present model, once."""
        state, pseudo = self.state, self.objective.pseudo
        if state.prototypes is not None or not self.objective.has_prototypes:
            return
        positions = np.flatnonzero(pseudo.labels.numpy() >= 0)
        labels = pseudo.labels[positions].to(self.device)
        n, size = len(positions), self.ranks.size
        padded = np.resize(positions, -(-n // size) * size)  # each rank has as many
        state.model.eval()
        # Sums, because embeddings of 65,536 numbers for each point would not fit.
        sums, done = None, 0
        for views in self.inputs.evaluation_batches(padded[self.ranks.part]):
            z, features = self._embed(views)
            rows = self.ranks.gather(features if self.objective.classifies else z)[: n - done]
            if sums is None:
                sums = rows.new_zeros(pseudo.n_clusters, rows.shape[1])
            sums.index_add_(0, labels[done : done + len(rows)], rows)
            done += len(rows)
            self.stop.raise_if_requested("; the same call resumes after the last whole epoch")
        clusters = torch.arange(pseudo.n_clusters, device=self.device)
        prototypes = cluster_prototypes(sums, clusters, pseudo.n_clusters)
        if self.objective.classifies:
            torch.manual_seed(self.settings.seed)
            prototypes = in_random_directions_if_zero(prototypes)
        state.begin_with(self.ranks.from_first(prototypes))
        state.model.train()


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
        images in memory. They change nothing but speed.
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
        check_segment(settings, files, stop_at_epoch, ranks)
        if threads is not None or ranks.size > 1:
            torch.set_num_threads(ranks.share(threads or torch.get_num_threads()))
        if settings.training.deterministic or ranks.device.type == "cpu":
            make_deterministic()
        inputs = SegmentInputs(
            settings,
            files,
            stop_at_epoch=stop_at_epoch,
            ranks=ranks,
            num_workers=num_workers,
            result_version=result_version,
        )
        segment = Segment(settings, files, inputs, ranks, stop_at_epoch)
        lease = Lease(files.rolling) if ranks.is_first else contextlib.nullcontext()
        with lease as held, Deferred(ranks.largest if ranks.size > 1 else None) as stop:
            ranks.wait()  # nobody reads the rolling checkpoint before the lease is taken
            segment.run(held, stop)

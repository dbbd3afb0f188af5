"""What changes while a segment is trained: model, optimiser, how far it is, and what is logged."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from gcdflow.config.settings import TrainSettings
from gcdflow.distributed.batch_norm import synchronise_batch_norm
from gcdflow.distributed.ranks import Ranks
from gcdflow.files.event_log import EventLog, event_file, remove_overlapping, restore_missing
from gcdflow.models.head import random_prototypes
from gcdflow.models.model import Model
from gcdflow.training.checkpoint import Checkpoint, restore_model, stored_weights
from gcdflow.training.inputs import SegmentInputs
from gcdflow.training.schedule import cosine_lr
from gcdflow.training.segment_files import SegmentFiles

SPEED = "images_per_second"  # the one value that two equal trainings do not share


class TrainingState:
    """The state of a training, as a checkpoint keeps it.

    Attributes
    ----------
    model, optimizer
    epoch : int, epochs done
    prototypes : tensor (K, out_dim) or None; a parameter (K, feature_dim) of a classifier
    first_step : int, steps that are done of the next epoch, which was cut off within
    n_counted : int, those of them that were not left out
    sums : dict of name to 0-d tensor, sums of their losses
    n_skipped : int, steps that the segment has left out
    history : dict of epoch to dict of tag to float
    """

    def __init__(
        self,
        settings: TrainSettings,
        inputs: SegmentInputs,
        ranks: Ranks,
        path: Path | None,
        checkpoint: Checkpoint | None,
    ):
        """Start from random weights, or from a checkpoint that was read from a path."""
        self._settings, self._inputs, self._ranks = settings, inputs, ranks
        if checkpoint is None:
            torch.manual_seed(settings.seed)
            model = Model(settings)
        else:
            named = getattr(settings.backbone, "named_file", None)
            model = restore_model(path, checkpoint, named)
        self.model = synchronise_batch_norm(model.to(ranks.device), ranks)
        self.epoch = 0 if checkpoint is None else checkpoint.epoch
        self.prototypes: Tensor | None = None
        if checkpoint is None:
            self._keep(self._random_prototypes())
        elif checkpoint.pseudo_sha256 == inputs.pseudo_sha256:
            self._keep(checkpoint.prototypes)  # those of other clusters are replaced
        self._build_optimizer(checkpoint)
        rolling = {} if checkpoint is None else checkpoint.rolling
        self.first_step, self.n_counted = rolling.get("step", 0), rolling.get("n_counted", 0)
        self.sums = {k: v.to(ranks.device) for k, v in rolling.get("sums", {}).items()}
        self.n_skipped = rolling.get("n_skipped", 0)
        self.history = {} if checkpoint is None else checkpoint.history
        # What tells of time is kept apart: equal trainings have equal checkpoints.
        self._speeds: dict[int, float] = rolling.get("speeds", {})
        self._first_epoch = rolling.get("first_epoch", self.epoch + 1)

    @classmethod
    def restored(
        cls,
        settings: TrainSettings,
        files: SegmentFiles,
        inputs: SegmentInputs,
        ranks: Ranks,
        stop_at_epoch: int,
    ) -> TrainingState:
        """The state that an earlier call or segment has left, or that of a beginning."""
        path, checkpoint = files.rolling, files.rolling_checkpoint(inputs.key)
        if checkpoint is None:
            path = files.resume_from
            checkpoint = files.starting_checkpoint(
                inputs.identity, inputs.split_sha256, stop_at_epoch
            )
        return cls(settings, inputs, ranks, path, checkpoint)

    def _random_prototypes(self) -> Tensor | None:
        """Prototypes to begin with, where a classifier is there from the beginning."""
        objective = self._settings.objective
        if not self._settings.has_classifier or objective.begins_with_clusters:
            return None
        dtype = next(self.model.head.parameters()).dtype
        return random_prototypes(objective.n_prototypes, self.model.backbone.feature_dim, dtype)

    def _keep(self, prototypes: Tensor | None) -> None:
        """Have these prototypes; those of a classifier are trained."""
        if prototypes is not None:
            prototypes = prototypes.to(self._ranks.device)
            if self._inputs.objective.classifies:
                prototypes = nn.Parameter(prototypes)
        self.prototypes = prototypes

    def begin_with(self, prototypes: Tensor) -> None:
        """Have prototypes from now on, from clusters."""
        self._keep(prototypes)
        if self.trains_prototypes:
            self.optimizer.param_groups[0]["params"].append(self.prototypes)

    @property
    def trains_prototypes(self) -> bool:
        """Whether the optimiser moves the prototypes."""
        return isinstance(self.prototypes, nn.Parameter)

    def _build_optimizer(self, checkpoint: Checkpoint | None) -> None:
        options = self._settings.training
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        parameters += [self.prototypes] if self.trains_prototypes else []  # the last one
        self.optimizer = torch.optim.SGD(
            parameters,
            lr=options.lr,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
        )
        if checkpoint is not None:  # without the momenta of prototypes that are replaced
            stored = checkpoint.optimizer["state"]
            momenta = {number: stored[number] for number in stored if number < len(parameters)}
            self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": momenta})

    def set_learning_rate(self, epoch: int) -> float:
        """Set the optimiser's learning rate to that of an epoch."""
        options, (group,) = self._settings.training, self.optimizer.param_groups
        group["lr"] = cosine_lr(
            epoch,
            total_epochs=self._settings.total_epochs,
            lr=options.lr,
            final_factor=options.final_lr_factor,
        )
        return group["lr"]

    def checkpoint(self, rolling: dict | None = None) -> Checkpoint:
        """The state at the end of an epoch; ``rolling`` is what only a rolling checkpoint holds."""
        return Checkpoint(
            epoch=self.epoch,
            settings=self._inputs.identity,
            split_sha256=self._inputs.split_sha256,
            weights=stored_weights(self.model, self._settings),
            optimizer=self.optimizer.state_dict(),
            frozen_sha256=self._inputs.frozen_sha256,
            prototypes=None if self.prototypes is None else self.prototypes.detach().cpu(),
            pseudo_sha256=self._inputs.pseudo_sha256,
            rolling=rolling or {},
            history=self.history,
        )

    def rolling(self) -> dict:
        """What a rolling checkpoint holds beside the state at the end of an epoch."""
        return {
            "key": self._inputs.key,
            "n_skipped": self.n_skipped,
            "first_epoch": self._first_epoch,
            "speeds": self._speeds,
        }

    def rolling_within(self, done: int) -> dict:
        """The same, where so many steps of the next epoch are done."""
        return {
            **self.rolling(),
            "step": done,
            "n_counted": self.n_counted,
            "sums": {name: total.cpu() for name, total in self.sums.items()},
        }

    def count(self, losses: dict[str, Tensor]) -> None:
        """Add the losses of a step to the sums of its epoch."""
        for name, loss in losses.items():
            total = self.sums.get(name, torch.zeros((), device=self._ranks.device))
            self.sums[name] = total + loss.detach()
        self.n_counted += 1

    def means(self) -> dict[str, float]:
        """Mean of each loss over the steps of an epoch, whose sums are then forgotten."""
        n_counted = max(self.n_counted, 1)  # of an epoch of bad steps there is nothing to log
        values = {name: float(total) / n_counted for name, total in self.sums.items()}
        self.first_step, self.n_counted, self.sums = 0, 0, {}
        return values

    def finish_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Count an epoch as done, with the values that are monitored of it."""
        self.epoch = epoch
        self._speeds[epoch] = values[SPEED]
        self.history[epoch] = {
            name: value for name, value in values.items() if name != SPEED and math.isfinite(value)
        }

    def open_log(self, log_dir: Path | None, stop_at_epoch: int) -> EventLog | None:
        """Write the segment's event file as the checkpoint knows it, and open it for more."""
        start = self._first_epoch
        if log_dir is None or not self._ranks.is_first or start > stop_at_epoch:
            return None
        remove_overlapping(log_dir, "train", start, stop_at_epoch)
        earlier = {epoch: values for epoch, values in self.history.items() if epoch < start}
        restore_missing(log_dir, "train", earlier)
        own = {
            epoch: {**values, SPEED: self._speeds.get(epoch)}
            for epoch, values in self.history.items()
            if epoch >= start
        }
        return EventLog(event_file(log_dir, "train", start, stop_at_epoch), own)

"""SimGCD: contrastive losses, and a classifier that teaches itself.

See docs/contract.md, section 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcdflow.config.settings import TrainSettings
from gcdflow.errors import InputError
from gcdflow.files.formats import Split
from gcdflow.losses.distillation import self_distillation
from gcdflow.losses.mean_entropy import mean_entropy_gap
from gcdflow.losses.prototypical import prototypical
from gcdflow.models.head import unit_rows
from gcdflow.training.objective import Objective, both_views
from gcdflow.training.schedule import teacher_temperature


@dataclass(frozen=True)
class SimGCD(Objective):
    """Contrastive losses and those of a cosine classifier with one prototype for each category.

    ``(1 - w) · (L_contrast + L_distil + ε · L_entropy) + w · (L_supcon + L_class)``

    The first prototypes are those of the old classes, in their order. ``pseudo`` holds what the
    first prototypes are made of; None where their number was given.

    References
    ----------
    Wen et al., *Parametric Classification for Generalized Category Discovery: A Baseline Study*,
    arXiv 2211.11727, section 4.2.
    """

    @property
    def has_prototypes(self) -> bool:
        """Always."""
        return True

    @property
    def classifies(self) -> bool:
        """Prototypes are of features, and trained."""
        return True

    def schedule(self, epoch: int) -> dict[str, float]:
        """The temperature of soft labels."""
        return {"teacher_temperature": self.teacher_temperature(epoch)}

    def teacher_temperature(self, epoch: int) -> float:
        """Temperature of soft labels at an epoch; the ramp begins with the classifier."""
        options = self.settings.objective
        return teacher_temperature(
            epoch,
            begin=self.settings.warmup_epochs or 0,
            first=options.first_teacher_temperature,
            last=options.teacher_temperature,
            ramp_epochs=options.teacher_ramp_epochs,
        )

    def losses(
        self,
        epoch: int,
        z1: Tensor,
        z2: Tensor,
        positions: Tensor,
        prototypes: Tensor | None,
        features: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """The loss of one step; as :meth:`Objective.losses`.

        Returns
        -------
        dict of name to 0-d tensor
            ``L_total``, ``L_contrast``, ``L_supcon``, ``L_distil``, ``L_entropy``, ``L_class``.
        tensor
            The prototypes that were given: the optimiser moves them.
        """
        options, w = self.settings.objective, self.settings.training.sup_con_weight
        losses, contrastive = self._contrastive(z1, z2, positions)
        labels, centres = self.labels[positions], unit_rows(prototypes)
        losses["L_distil"] = self_distillation(
            *features,
            centres,
            temperature=options.temperature,
            teacher_temperature=self.teacher_temperature(epoch),
        )
        losses["L_entropy"] = mean_entropy_gap(
            torch.cat(features), centres, temperature=options.temperature
        )
        losses["L_class"] = prototypical(
            *both_views(*features, labels, labels >= 0), centres, temperature=options.temperature
        )
        unsupervised = losses["L_distil"] + options.entropy_weight * losses["L_entropy"]
        total = contrastive + (1 - w) * unsupervised + w * losses["L_class"]
        return {"L_total": total, **losses}, prototypes


def check_number_of_prototypes(settings: TrainSettings, split: Split) -> None:
    """Refuse a classifier without a prototype for each old class (InputError)."""
    n, n_old = settings.objective.n_prototypes, len(split.old_class_names)
    if n is not None and n < n_old:
        raise InputError(
            f"objective.n_prototypes is {n}, but the split has {n_old} old classes; expected one "
            "prototype for each of them, and more for new classes"
        )

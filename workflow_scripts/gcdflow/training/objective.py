"""The loss of a training step: what each part sees, and how they add up.

See docs/contract.md, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcdflow.config.settings import TrainSettings
from gcdflow.losses.infonce import info_nce
from gcdflow.losses.prototypical import prototypical, update_prototypes
from gcdflow.losses.supcon import sup_con, sup_con_pairs
from gcdflow.training.pseudo_targets import PseudoTargets
from gcdflow.training.schedule import gamma


@dataclass(frozen=True)
class Objective:
    """The contrastive objective, which pseudo labels may guide.

    ``(1 - w) · L_contrast + w · L_supcon + γ(epoch) · pseudo_loss_weight · L_pseudo``

    Attributes
    ----------
    settings : TrainSettings; ``w`` is ``training.sup_con_weight``
    labels : int64 (n,), old class of each position of the split, -1 where it is not labelled
    pseudo : PseudoTargets or None in the warm-up
    """

    settings: TrainSettings
    labels: Tensor
    pseudo: PseudoTargets | None

    @property
    def has_prototypes(self) -> bool:
        """Whether the losses need prototypes."""
        if self.pseudo is None or not self.pseudo.can_guide:
            return False
        return self.settings.pseudo.loss == "prototypical"

    @property
    def classifies(self) -> bool:
        """Whether prototypes are of features and trained, not moving averages of embeddings."""
        return False

    def schedule(self, epoch: int) -> dict[str, float]:
        """What changes with the epoch, by the name that monitoring shows."""
        return {"gamma": self.gamma(epoch)}

    def gamma(self, epoch: int) -> float:
        """Share of the full weight that pseudo labels have at an epoch, 0 to 1."""
        if self.pseudo is None or not self.pseudo.can_guide:
            return 0.0
        return gamma(
            epoch,
            warmup_epochs=self.settings.warmup_epochs,
            total_epochs=self.settings.total_epochs,
            gamma_ramp_epochs=self.settings.pseudo.gamma_ramp_epochs,
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
        """The loss of one step.

        Parameters
        ----------
        z1, z2 : (B, d), embeddings of the two views, rows of length 1
        positions : int64 (B,), of the samples in the split; on the CPU
        prototypes : (K, out_dim) or, of features, (K, feature_dim); None where there are none
        features : two of (B, feature_dim), of the same views, rows of length 1; None unless the
            objective classifies

        Returns
        -------
        dict of name to 0-d tensor
            ``L_total``, ``L_contrast``, ``L_supcon``, and ``L_pseudo`` where its weight is not 0.
        tensor or None
            The prototypes after the step.
        """
        losses, total = self._contrastive(z1, z2, positions)
        strength = self.gamma(epoch)
        if self.pseudo is not None:
            strength *= self.settings.pseudo.pseudo_loss_weight
        if strength > 0:
            losses["L_pseudo"], prototypes = self._pseudo_loss(z1, z2, positions, prototypes)
            total = total + strength * losses["L_pseudo"]
        return {"L_total": total, **losses}, prototypes

    def _contrastive(
        self, z1: Tensor, z2: Tensor, positions: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The contrastive losses, and their weighted sum."""
        options = self.settings.training
        labels = self.labels[positions]
        labelled = labels >= 0
        contrasted = (z1, z2)
        if options.contrast_samples == "unlabelled":
            contrasted = _rows((z1, z2), ~labelled)
        losses = {
            "L_contrast": info_nce(*contrasted, temperature=options.contrast_temperature),
            "L_supcon": sup_con(
                *both_views(z1, z2, labels, labelled), temperature=options.sup_con_temperature
            ),
        }
        w = options.sup_con_weight
        return losses, (1 - w) * losses["L_contrast"] + w * losses["L_supcon"]

    def _pseudo_loss(
        self, z1: Tensor, z2: Tensor, positions: Tensor, prototypes: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        options = self.settings.pseudo
        if options.pulls_neighbours:
            positive = _sent(self.pseudo.pairs(positions), z1.device).repeat(2, 2)
            weights = _sent(self.pseudo.weights[positions], z1.device).repeat(2)
            z = torch.cat([z1, z2])
            loss = sup_con_pairs(z, positive, temperature=options.temperature, weights=weights)
            return loss, None
        labels = self.pseudo.labels[positions]
        counts = labels >= 0
        z, chosen_labels = both_views(z1, z2, labels, counts)
        weights = _sent(self.pseudo.weights[positions][counts], z.device).repeat(2)
        if options.loss == "supcon":
            loss = sup_con(z, chosen_labels, temperature=options.temperature, weights=weights)
            return loss, None
        loss = prototypical(
            z, chosen_labels, prototypes, temperature=options.temperature, weights=weights
        )
        return loss, update_prototypes(
            prototypes, z.detach(), chosen_labels, momentum=options.prototype_momentum
        )


def both_views(z1: Tensor, z2: Tensor, labels: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings and labels of the chosen samples, first views then second views."""
    return torch.cat(_rows((z1, z2), chosen)), _sent(labels[chosen], z1.device).repeat(2)


def _rows(views: tuple[Tensor, Tensor], chosen: Tensor) -> list[Tensor]:
    """The chosen rows of both views.

    A mask on a GPU would have to be counted there, while the host waits; this one is on the CPU.
    """
    positions = _sent(chosen.nonzero()[:, 0], views[0].device)
    return [z.index_select(0, positions) for z in views]


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, for which the host does not wait."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)

"""Pseudo labels as the loss needs them: which samples count, and how much."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gcdflow.clustering.matching import optimal_matching
from gcdflow.config.settings import TrainSettings
from gcdflow.data.sampling import Neighbours
from gcdflow.errors import InputError
from gcdflow.files.formats import PseudoLabels, Split, align
from gcdflow.losses.weights import pseudo_weights
from gcdflow.wording import counted

log = logging.getLogger(__name__)

NO_PSEUDO_LABEL = -1


@dataclass(frozen=True)
class PseudoTargets:
    """Pseudo labels as the loss needs them, one entry for each position of the split.

    Attributes
    ----------
    labels : int64 (n,), cluster ids; -1 where the sample does not count
    weights : float32 (n,)
    n_clusters : int
    neighbours : int64 (n, m) or None, positions of neighbours of samples that count, then -1;
        None where all pairs of a cluster are positives
    """

    labels: Tensor
    weights: Tensor
    n_clusters: int
    neighbours: Tensor | None = None

    @functools.cached_property  # every step asks, and of 100,000 samples that would take 5 ms
    def can_guide(self) -> bool:
        """Points of at least two clusters count: of one alone there is nothing to tell apart."""
        counting = self.labels[self.labels != NO_PSEUDO_LABEL]
        return len(counting) > 0 and bool((counting != counting[0]).any())

    def pairs(self, positions: Tensor) -> Tensor:
        """Pairs of samples of which one is a neighbour of the other: bool (B, B).

        Parameters
        ----------
        positions : int64 (B,), of samples of a batch
        """
        listed = (self.neighbours[positions][:, :, None] == positions).any(dim=1)
        return listed | listed.T

    def sampled(self, split: Split, settings: TrainSettings) -> Neighbours | None:
        """The neighbours that batches bring; None where L_pseudo needs none."""
        if self.neighbours is None or not self.can_guide or settings.pseudo.pseudo_loss_weight == 0:
            return None
        lists = self.neighbours.numpy()
        ids = np.where(lists >= 0, split.indices[lists], NO_PSEUDO_LABEL)
        return Neighbours(split.indices, ids)

    @classmethod
    def select(cls, path: Path, split: Split, settings: TrainSettings) -> PseudoTargets:
        """Choose the points and samples that count, and weigh them.

        Raises
        ------
        InputError
            If the file is not one of pseudo labels of exactly this split's training samples.
        """
        options = settings.pseudo
        pseudo, positions = _of_training_samples(path, split)
        counts = np.ones(len(positions), dtype=bool)
        if options.points == "core":
            counts &= pseudo.core_mask
        if options.samples == "unlabelled":
            counts &= ~split.labelled_mask[positions]
        labels = np.full(len(split.indices), NO_PSEUDO_LABEL, dtype=np.int64)
        labels[positions] = np.where(counts, pseudo.labels, NO_PSEUDO_LABEL)
        weights = np.zeros(len(split.indices), dtype=np.float32)
        weights[positions] = pseudo_weights(pseudo.densities, options.weights)
        neighbours = None
        if options.pulls_neighbours:
            if pseudo.neighbours.shape[1] == 0:
                raise InputError(
                    f"{path}: holds no neighbours, which pseudo.positives = 'neighbours' needs; "
                    "delete the file to have it made again"
                )
            rows = np.where(counts[:, None], pseudo.neighbours, -1)
            lists = np.full((len(labels), rows.shape[1]), -1, dtype=np.int64)
            lists[positions] = np.where(rows >= 0, positions[rows], -1)
            neighbours = torch.from_numpy(lists)
        targets = cls(
            torch.from_numpy(labels), torch.from_numpy(weights), pseudo.n_clusters, neighbours
        )
        if not targets.can_guide:
            log.warning(
                "%s: all of its %d points that count are in one cluster (of %s and %d points in "
                "all); this segment is trained without L_pseudo",
                path,
                int((targets.labels != NO_PSEUDO_LABEL).sum()),
                counted(pseudo.n_clusters, "cluster"),
                len(pseudo.labels),
            )
        return targets

    @classmethod
    def for_classifier(cls, path: Path, split: Split) -> PseudoTargets:
        """Clusters in the order of a classifier's prototypes: old classes first, then the others.

        A class takes the cluster that it is matched to, by the largest number of labelled samples
        in matched clusters (Hungarian). A class that shares no cluster with any (others have taken
        those where its samples are) has its labelled samples as a cluster of its own, and one
        without labelled training samples an empty cluster. All points of a cluster count alike.

        Raises
        ------
        InputError
            If the file is not one of pseudo labels of exactly this split's training samples.
        """
        pseudo, positions = _of_training_samples(path, split)
        n_old, classes = len(split.old_class_names), split.labels[positions]
        labelled = split.labelled_mask[positions]
        cluster_of = optimal_matching(classes[labelled], pseudo.labels[labelled])
        others = np.setdiff1d(np.arange(pseudo.n_clusters), list(cluster_of.values()))
        number = np.empty(pseudo.n_clusters, dtype=np.int64)
        number[list(cluster_of.values())] = list(cluster_of)
        number[others] = n_old + np.arange(len(others))
        has_no_cluster = labelled & ~np.isin(classes, list(cluster_of))
        labels = np.full(len(split.indices), NO_PSEUDO_LABEL, dtype=np.int64)
        labels[positions] = np.where(has_no_cluster, classes, number[pseudo.labels])
        n_prototypes = n_old + len(others)
        if n_prototypes < 2:
            log.warning(
                "%s: has one cluster only; this segment has a classifier of one category, which "
                "teaches nothing",
                path,
            )
        log.info(
            "%s: %s, of them %s of old classes, from %s",
            path,
            counted(n_prototypes, "prototype"),
            n_old,
            counted(pseudo.n_clusters, "cluster"),
        )
        weights = torch.ones(len(labels), dtype=torch.float32)
        return cls(torch.from_numpy(labels), weights, n_prototypes)


def _of_training_samples(path: Path, split: Split) -> tuple[PseudoLabels, np.ndarray]:
    """Pseudo labels, and the positions of their samples, which must be the training samples."""
    pseudo, name = PseudoLabels.load(path), "split.npz"
    train_positions = np.flatnonzero(split.train_mask)
    positions = align(name, split.indices, pseudo.indices)
    if not np.array_equal(np.sort(positions), train_positions):
        raise InputError(
            f"{path}: has {len(positions)} samples, {name} has {len(train_positions)} "
            "training samples; expected the same ones"
        )
    return pseudo, positions

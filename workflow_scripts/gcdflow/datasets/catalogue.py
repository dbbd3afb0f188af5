"""From what is on the disk to ``split.npz`` and ``truth.npz``: which labels are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gcdflow.errors import InputError
from gcdflow.formats import UNLABELLED, Split, Truth


@dataclass(frozen=True)
class Catalogue:
    """All samples of a dataset with their true classes, before anything is hidden.

    Attributes
    ----------
    classes : int64 (n,), true class of each sample, in the dataset's own numbering from 0
    train_mask : bool (n,), training split (else test)
    class_names : list of str, one for each class id
    old_classes : list of int, ids of the old (known) classes in order of their label
    source : dict, plain JSON values; ``dataset`` names the module that opens the images
    paths : list of str, image file of each sample relative to the source's root; or empty
    """

    classes: np.ndarray
    train_mask: np.ndarray
    class_names: list[str]
    old_classes: list[int]
    source: dict[str, Any]
    paths: list[str]


def draw_labelled(candidates: np.ndarray, proportion: float, seed: int) -> np.ndarray:
    """Positions of the samples whose label is shown.

    The field's draw (Vaze et al., arXiv 2201.02609, ``subsample_instances``): pooled over the old
    classes, not stratified, ``int(proportion * n)`` of the n candidates in their order in the
    dataset, by NumPy's legacy generator.

    Parameters
    ----------
    candidates : ndarray of int, positions of the training samples of old classes, ascending
    """
    size = int(proportion * len(candidates))
    return np.random.RandomState(seed).choice(candidates, replace=False, size=size)


def split_catalogue(
    catalogue: Catalogue, *, prop_train_labels: float, seed: int
) -> tuple[Split, Truth]:
    """Hide the truth: label a share of the old classes' training samples, nothing else.

    Labels are positions in ``old_classes``; the new classes follow in ascending order of their id
    in the truth. Sample ids are positions in the catalogue.

    Raises
    ------
    InputError
        If an old class does not exist, or none is left to label.
    """
    n_classes = len(catalogue.class_names)
    old = list(catalogue.old_classes)
    if len(set(old)) != len(old) or not all(0 <= c < n_classes for c in old):
        raise InputError(
            f"dataset.old_classes: {old} are not distinct class ids in 0…{n_classes - 1}"
        )
    order = old + [c for c in range(n_classes) if c not in set(old)]
    rank = np.empty(n_classes, dtype=np.int64)
    rank[order] = np.arange(n_classes)
    truth_labels = rank[catalogue.classes]
    old_mask = truth_labels < len(old)

    candidates = np.flatnonzero(old_mask & catalogue.train_mask)
    labelled = draw_labelled(candidates, prop_train_labels, seed)
    if len(labelled) == 0:
        raise InputError(
            f"dataset.prop_train_labels: {prop_train_labels} of the {len(candidates)} training "
            "samples of old classes leaves none to label"
        )
    labelled_mask = np.zeros(len(truth_labels), dtype=bool)
    labelled_mask[labelled] = True
    indices = np.arange(len(truth_labels), dtype=np.int64)
    names = np.array([catalogue.class_names[c] for c in order], dtype=np.str_)
    split = Split(
        indices=indices,
        train_mask=catalogue.train_mask,
        labelled_mask=labelled_mask,
        labels=np.where(labelled_mask, truth_labels, UNLABELLED),
        source=catalogue.source,
        paths=np.array(catalogue.paths, dtype=np.str_),
        old_class_names=names[: len(old)],
    )
    return split, Truth(indices, truth_labels, old_mask, names)

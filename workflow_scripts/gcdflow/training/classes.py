"""The category that a checkpoint's classifier gives each sample, from its features."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F

from gcdflow.errors import InputError
from gcdflow.files.formats import Classes, Features
from gcdflow.training.checkpoint import Checkpoint

_ROWS = 4096  # at a time


def classify(checkpoint_path: Path, features_path: Path) -> Classes:
    """The most similar prototype of each sample, in the order of the feature cache.

    Returns
    -------
    Classes
        Numbers below that of the old classes are these; a tie goes to the lower number.

    Raises
    ------
    InputError
        If a file is not valid, the features are not of this checkpoint, or it has no classifier.
    """
    checkpoint = Checkpoint.load(checkpoint_path)
    features = Features.of_checkpoint(features_path, checkpoint_path)
    prototypes, width = checkpoint.prototypes, features.features.shape[1]
    if not checkpoint.settings.has_classifier or prototypes is None:
        raise InputError(
            f"{checkpoint_path}: has no classifier (its objective is "
            f"'{checkpoint.settings.objective.name}')"
        )
    if prototypes.shape[1] != width:
        raise InputError(
            f"{checkpoint_path}: its prototypes have {prototypes.shape[1]} dimensions, the "
            f"features in {features_path} {width}"
        )
    centres = F.normalize(prototypes.double(), dim=1)
    rows = torch.from_numpy(features.features)
    # The largest dot product is the largest cosine: a row's own length does not count.
    labels = [(part.double() @ centres.T).argmax(dim=1) for part in rows.split(_ROWS)]
    return Classes(
        indices=features.indices, labels=torch.cat(labels).numpy(), metadata=features.metadata
    )

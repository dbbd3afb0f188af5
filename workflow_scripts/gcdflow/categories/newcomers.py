"""Samples that are new to a clustering, and which of them resemble no category."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gcdflow.errors import InputError
from gcdflow.files.formats import UNLABELLED, Features

# Share of the run's own samples that lie farther from every category than what counts as
# resembling none. Their own distances are the measure, because how far core points are apart
# depends on the features. A sample does not count for itself, as a newcomer has no core point of
# its own. Measured on clip art that EfficientNet-Lite0 sorts: beyond this bound are 2 % of held-out
# pictures, 83 % of crops of photographs, and all noise (1, 58 and 100 % with a share of 0.01).
# Distances in units of the category's median find neither. A tiny network that has seen nothing but
# digits takes most things for digits: 3 % of its test images, and 0 to 32 % of other shapes.
UNKNOWN_SHARE = 0.02
RESEMBLES_NONE = "resembles no category"  # how the reason of such a sample begins


@dataclass(frozen=True)
class Newcomers:
    """Samples beyond those of a split.

    Attributes
    ----------
    indices : int64 (m,), ids that no sample of the split has; each once
    features : float32 (m, d), from the checkpoint of the samples' features
    unknown : float, 0…1, share of the split's samples that would count as resembling no category
    """

    indices: np.ndarray
    features: np.ndarray
    unknown: float = UNKNOWN_SHARE

    @property
    def why_stranger(self) -> str:
        """What a table says of a newcomer that resembles no category."""
        share = f"{100 * (1 - self.unknown):.6g}"
        return f"{RESEMBLES_NONE} (farther from all than {share} % of the run's images)"

    def joined(self, path: str | Path, features: Features) -> Features:
        """A feature cache with the newcomers behind its samples, as of the test split.

        Raises
        ------
        InputError
            If their features have another width; ``path`` names the cache.
        """
        if self.features.shape[1] != features.features.shape[1]:
            raise InputError(
                f"{path}: its features have {features.features.shape[1]} dimensions, those of new "
                f"images {self.features.shape[1]}; are they from the same checkpoint?"
            )
        m = len(self.indices)
        return replace(
            features,
            indices=np.concatenate([features.indices, self.indices]),
            features=np.concatenate([features.features, self.features]),
            labels=np.concatenate([features.labels, np.full(m, UNLABELLED, dtype=np.int64)]),
            train_mask=np.concatenate([features.train_mask, np.zeros(m, dtype=bool)]),
        )

    def strangers(self, distances: np.ndarray) -> np.ndarray:
        """Which newcomers resemble no category, bool (m,).

        Parameters
        ----------
        distances : float64 (n + m,)
            Distance to the nearest category, of the samples of the split and then of newcomers.
        """
        own, new = np.split(distances, [len(distances) - len(self.indices)])
        own = own[np.isfinite(own)]  # the only core point of all has no other to be near
        if self.unknown == 0 or len(own) == 0:
            return np.zeros(len(new), dtype=bool)
        return new > np.quantile(own, 1 - self.unknown)

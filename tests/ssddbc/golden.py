"""The stored expected results, as plain arrays (see golden_data/README.md)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

DIRECTORY = Path(__file__).parent / "golden_data"


@cache
def load(name: str) -> SimpleNamespace:
    """Arrays of one golden set; densities are repeated so that axis 0 is the configuration."""
    with np.load(DIRECTORY / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    n = arrays["features"].shape[0]
    arrays["core_mask"] = np.unpackbits(arrays["core_mask"], axis=1, count=n).astype(bool)
    row_of_k = np.searchsorted(arrays.pop("density_k"), arrays["k"])
    for key in ("densities", "relative_densities"):
        arrays[key] = arrays[key].astype(np.float64)[row_of_k]
    arrays["y"] = arrays["y"].astype(np.int64)
    return SimpleNamespace(**arrays)

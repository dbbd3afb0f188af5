"""Pseudo-label guided contrastive learning for generalized category discovery (GCD)."""

import importlib
import sys

__version__ = "0.1.0"

if sys.version_info < (3, 11):  # noqa: UP036 (any Python may start a stage)
    sys.exit(
        f"gcdflow: error: {sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}, "
        "expected 3.11 or newer; activate the environment of this workflow"
    )


def __getattr__(name: str) -> object:
    """Import :func:`gcdflow.prediction.predict` when it is asked for: it needs PyTorch."""
    if name == "predict":
        return importlib.import_module("gcdflow.prediction").predict
    raise AttributeError(f"module 'gcdflow' has no attribute '{name}'")

"""SSDDBC: semi-supervised density-based clustering, and a search over its grid.

A library piece in its own right, with scikit-learn's interface and without PyTorch. Names are
loaded when they are first used, and compiled code by the first fit.
"""

import importlib

_HOMES = {
    "SSDDBC": "estimators",
    "SSDDBCGridSearch": "estimators",
    "assign_to_clusters": "estimators",
    "estimate_resources": "resources",
}

__all__ = ["SSDDBC", "SSDDBCGridSearch", "assign_to_clusters", "estimate_resources"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

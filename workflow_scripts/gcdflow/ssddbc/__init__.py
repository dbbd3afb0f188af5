"""SSDDBC: semi-supervised density-based clustering, and a search over its grid.

The package also works as a separate library, with scikit-learn's interface and without PyTorch.
Names are loaded on first use, and the first fit loads compiled code.

docs/contract.md, section 3, defines the algorithm.
"""

import importlib

_HOMES = {
    "SSDDBC": "estimators",
    "SSDDBCGridSearch": "estimators",
    "assign_to_clusters": "estimators",
    "choose_neighbours": "resources",
    "core_neighbours": "estimators",
    "estimate_resources": "resources",
}

__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

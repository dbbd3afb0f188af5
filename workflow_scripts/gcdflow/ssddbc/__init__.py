"""SSDDBC: semi-supervised density-based clustering, and a search over its grid.

The package also works as a separate library, with scikit-learn's interface and without PyTorch.
Names are loaded on first use, and the first fit loads compiled code.

docs/contract.md, section 3, defines the algorithm. This implementation decides the open points as
follows:

* A merged cluster takes the number of the cluster that absorbed it, the later one. Clusters that
  lost all members to other clusters vanish. Numbers are consecutive in order of opening.
* The hard constraint comes first: an edge between different labels is skipped, regardless of the
  clusters at its ends.
* k is reduced to n - 1 first; the relative density and the backbone graph use the reduced k.
* An isolated cluster joins a larger one by label only if that has labelled members itself.
* Without labelled points, the cross-entropy is 0. A point alone in its cluster has silhouette 0.
* Rows are normalised in float64 and not rounded. Sums and means equal those of NumPy and SciPy in
  float64. They are compared without tolerance.
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

__all__ = [
    "SSDDBC",
    "SSDDBCGridSearch",
    "assign_to_clusters",
    "choose_neighbours",
    "core_neighbours",
    "estimate_resources",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

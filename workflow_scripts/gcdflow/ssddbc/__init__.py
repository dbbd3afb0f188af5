"""SSDDBC: semi-supervised density-based clustering, and a search over its grid.

A library piece in its own right, with scikit-learn's interface and without PyTorch. Names are
loaded when they are first used, and compiled code by the first fit.

docs/contract.md, section 3, defines the algorithm. Where it leaves room, this is how it is read:

* A merged cluster keeps the number of the cluster that swallowed it, the later one; clusters that
  lost all members by moves vanish. Numbers are made consecutive in this order of opening.
* The hard constraint comes first: an edge between different labels is skipped, whatever the
  clusters of its ends.
* k is cut to n - 1 before everything, so it is the cut k that the relative density and the backbone
  graph use.
* An isolated cluster joins by label only a larger cluster that has labelled members itself.
* Without labelled points the cross-entropy is 0. A point alone in its cluster has silhouette 0.
* Rows are normalised in float64 and not rounded afterwards. Sums and means are those of NumPy and
  SciPy in float64, and compared as they are: no tolerance makes a tie of what rounding parted.
"""

import importlib

_HOMES = {
    "SSDDBC": "estimators",
    "SSDDBCGridSearch": "estimators",
    "assign_to_clusters": "estimators",
    "estimate_resources": "resources",
}

__all__ = [
    "SSDDBC",
    "SSDDBCGridSearch",
    "assign_to_clusters",
    "estimate_resources",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

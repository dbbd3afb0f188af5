"""The nearest core points of each sample."""

import numpy as np
import pytest
from gcdflow.errors import InputError
from gcdflow.ssddbc import SSDDBC, core_neighbours

from ssddbc import reference
from ssddbc.samples import groups


@pytest.mark.parametrize("normalize", [True, False])
def test_core_neighbours_against_a_naive_search(normalize):
    X, y, _ = groups()
    X[7] = X[11]  # equal samples: ties go to the lower row
    model = SSDDBC(k=8, density_percentile=60, normalize=normalize).fit(X, y)
    core, labels = model.core_sample_mask_, model.labels_
    y[np.flatnonzero(core)[::9]] = 3  # another label than others of the cluster have
    found = core_neighbours(X, core, labels, y, n_neighbors=60, normalize=normalize)
    rows = reference.normalise(X) if normalize else X.astype(np.float64)
    assert found.shape == (len(X), 60)
    different = 0
    for row in range(len(X)):
        others = [c for c in np.flatnonzero(core) if c != row]
        others.sort(key=lambda c: (np.linalg.norm(rows[c] - rows[row]), c))
        same = [c for c in others[:60] if labels[c] == labels[row]]
        mine = [c for c in same if y[c] == y[row] or min(y[c], y[row]) < 0]
        different += len(same) - len(mine)
        assert found[row].tolist() == mine + [-1] * (60 - len(mine))
    assert different > 0
    assert (found >= 0).any()


def test_more_core_neighbours_than_there_are():
    X = np.random.default_rng(0).normal(size=(6, 2))
    core, labels = np.array([True, True, False, False, False, True]), np.zeros(6, np.int64)
    found = core_neighbours(X, core, labels, n_neighbors=5)
    assert [sorted(row[row >= 0].tolist()) for row in found[:3]] == [[1, 5], [0, 5], [0, 1, 5]]
    with pytest.raises(InputError, match="marks no core point"):
        core_neighbours(X, np.zeros(6, bool), labels)
    with pytest.raises(InputError, match=r"core_sample_mask has shape \(5,\)"):
        core_neighbours(X, core[:5], labels)
    with pytest.raises(InputError, match="normalize is 'no', expected True or False"):
        core_neighbours(X, core, labels, normalize="no")
    with pytest.raises(InputError, match=r"y has dtype float64 .* contains nan in 6 of 6 places"):
        core_neighbours(X, core, labels, np.full(6, np.nan))

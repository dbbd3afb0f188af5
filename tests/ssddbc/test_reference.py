"""The reference itself against the golden results, including every intermediate array."""

import numpy as np
import pytest

from ssddbc import golden
from ssddbc.reference import fit_configuration, pairs

# Of blobs2500, which is slow, only two: they have moves, rejections and isolated clusters.
CHOSEN = {
    "x1": range(16),
    "v1": range(0, 222, 3),
    "digits": range(0, 222, 37),
    "blobs2500": "busiest",
}


def _configurations(name):
    expected = golden.load(name)
    chosen = CHOSEN[name]
    if chosen == "busiest":
        return expected, [int(np.argmax(expected.ev_move)), int(np.argmax(expected.ev_reject))]
    return expected, list(chosen)


@pytest.mark.parametrize("name", CHOSEN)
def test_reference_equals_golden(name):
    expected, configurations = _configurations(name)
    known = pairs(expected.features)
    for c in configurations:
        k, percentile = int(expected.k[c]), float(expected.percentile[c])
        found = fit_configuration(expected.features, expected.y, k, percentile, known=known)
        core = expected.core_mask[c]
        np.testing.assert_array_equal(found.core_mask, core)
        np.testing.assert_array_equal(
            found.backbone_labels[core], expected.backbone_labels[c][core]
        )
        np.testing.assert_array_equal(found.core_labels[core], expected.labels[c][core])
        np.testing.assert_array_equal(found.labels, expected.labels[c])
        np.testing.assert_allclose(found.densities, expected.densities[c], rtol=1e-6)
        np.testing.assert_allclose(
            found.relative_densities, expected.relative_densities[c], rtol=1e-6
        )
        np.testing.assert_allclose(found.core_threshold, expected.core_threshold[c], rtol=1e-6)
        np.testing.assert_allclose(found.cutoff, expected.cutoff[c], rtol=1e-6)
        for part in ("score", "cross_entropy", "silhouette"):
            assert getattr(found, part) == pytest.approx(getattr(expected, part)[c], abs=1e-6)
        for count in ("", "backbone_", "isolated_"):
            assert (
                getattr(found, f"n_{count}clusters") == getattr(expected, f"n_{count}clusters")[c]
            )
        assert found.n_isolated_label_match == expected.n_isolated_label_match[c]
        for event, count in found.events.items():
            assert count == getattr(expected, f"ev_{event}")[c], event

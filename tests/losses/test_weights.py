import numpy as np
import pytest
from gcdflow.losses.weights import pseudo_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import rankdata

few_values = st.sampled_from([0.0, 0.5, 1.0, 2.0])  # so that there are ties
densities_with_ties = st.lists(few_values | st.floats(0, 1e8), max_size=30)


@settings(max_examples=60, deadline=None)
@given(densities=densities_with_ties)
def test_equals_the_definition_by_scipy(densities):
    trust = expit(12 * (rankdata(densities, "average") / max(len(densities), 1) - 0.5))
    density = pseudo_weights(np.array(densities), "density")
    inverse = pseudo_weights(np.array(densities), "inverse_density")
    np.testing.assert_allclose(density, trust, rtol=1e-6)
    np.testing.assert_allclose(inverse, np.clip(1 - trust, 0.2, 0.8), rtol=1e-6)


@pytest.mark.parametrize("mode", ["none", "density", "inverse_density"])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_shape_and_dtype(mode, n):
    weights = pseudo_weights(np.arange(n, dtype=np.float32), mode)
    assert weights.shape == (n,)
    assert weights.dtype == np.float32


def test_mode_none_gives_equal_weights():
    assert (pseudo_weights([3.0, 1.0, 2.0], "none") == 1).all()


def test_known_values():
    # Ranks 1, 2.5, 2.5, 4 of 4.
    weights = pseudo_weights([0.1, 7.0, 7.0, 9.0], "density")
    np.testing.assert_allclose(weights, expit([-3, 1.5, 1.5, 6]), rtol=1e-6)
    inverse = pseudo_weights([0.1, 7.0, 7.0, 9.0], "inverse_density")
    np.testing.assert_allclose(inverse, [0.8, 0.2, 0.2, 0.2], rtol=1e-6)

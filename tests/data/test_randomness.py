"""Stateless random numbers: known values, uniformity, and dependence on the keys only."""

import numpy as np
import pytest
from gcdflow.data.randomness import hash_keys, permutation, uniforms
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

MASK = 2**64 - 1
keys = st.integers(-(2**63), 2**63 - 1)


def splitmix64(state: int) -> int:
    """SplitMix64's finaliser in Python's integers, after the reference code in C."""
    z = state & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def naive_hash(*key_values: int) -> int:
    state = 0
    for key in key_values:
        state = splitmix64((state ^ (key & MASK)) + 0x9E3779B97F4A7C15)
    return state


def test_first_number_is_that_of_splitmix64():
    # The first output of the reference implementation for the seed 0.
    assert int(hash_keys(0)) == 0xE220A8397B1DCDAF


@given(st.lists(keys, min_size=1, max_size=5))
def test_hash_equals_python_integers(key_values):
    assert int(hash_keys(*key_values)) == naive_hash(*key_values)


def test_keys_broadcast():
    rows, columns = np.arange(3)[:, None], np.arange(4)
    table = hash_keys(7, rows, columns)
    assert table.shape == (3, 4)
    assert table.dtype == np.uint64
    for row in range(3):
        for column in range(4):
            assert int(table[row, column]) == naive_hash(7, row, column)


def test_no_collisions_in_a_training_run():
    table = hash_keys(0, np.arange(1, 51)[:, None, None], np.arange(2000)[:, None], np.arange(4))
    assert len(np.unique(table)) == table.size


def test_order_of_the_keys_matters():
    pairs = np.arange(1, 50)
    assert not (hash_keys(pairs, 0) == hash_keys(0, pairs)).any()


def test_keys_beyond_64_bits_are_refused():
    with pytest.raises(OverflowError):
        hash_keys(2**64)


def test_uniforms_in_range_and_shape():
    u = uniforms(5, 0, np.arange(7)[:, None], np.arange(2))
    assert u.shape == (7, 2, 5)
    assert u.dtype == np.float64
    assert (u >= 0).all()
    assert (u < 1).all()
    assert uniforms(0, np.arange(3)).shape == (3, 0)


@pytest.mark.parametrize(
    "numbers",
    [
        uniforms(1, 0, 1, np.arange(50_000), 0, 2).ravel(),
        uniforms(50_000, 3),
        uniforms(1, np.arange(50_000), 1, 5, 0, 2).ravel(),
        uniforms(9, 0, np.arange(1, 21)[:, None], np.arange(300), 1, 2).ravel(),
    ],
    ids=["over samples", "over draws", "over seeds", "over all"],
)
def test_uniforms_are_uniform(numbers):
    assert stats.kstest(numbers, "uniform").pvalue > 1e-3


def test_neighbouring_keys_are_uncorrelated():
    u = uniforms(4, 0, np.arange(1, 6)[:, None, None], np.arange(2000)[:, None], np.arange(2))
    columns = u.transpose(1, 0, 2, 3).reshape(2000, -1)  # one column per (epoch, view, draw)
    correlations = np.corrcoef(columns, rowvar=False)[np.triu_indices(columns.shape[1], 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(2000)
    lagged = np.corrcoef(columns[:-1, 0], columns[1:, 0])[0, 1]
    assert abs(lagged) < 4 / np.sqrt(2000)


def test_every_bit_flips_half_of_the_hash():
    """A change of one bit of a key changes each bit of the hash with probability one half."""
    base = np.arange(4000)
    for bit in range(0, 63, 7):
        changed = hash_keys(1, base) ^ hash_keys(1, base ^ (1 << bit))
        bits = (changed[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
        shares = bits.mean(axis=0)
        assert shares.min() > 0.45
        assert shares.max() < 0.55


@given(st.lists(keys, min_size=1, max_size=30), st.data())
def test_batches_change_nothing(ids, data):
    whole = uniforms(3, 5, 2, np.array(ids))
    cut = data.draw(st.integers(0, len(ids)))
    parts = [np.array(part, dtype=np.int64) for part in (ids[:cut], ids[cut:])]
    np.testing.assert_array_equal(
        whole, np.concatenate([uniforms(3, 5, 2, part) for part in parts])
    )


def test_more_draws_do_not_change_the_first():
    np.testing.assert_array_equal(uniforms(9, 1, np.arange(4))[:, :3], uniforms(3, 1, np.arange(4)))


def test_global_generator_is_neither_used_nor_changed():
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    first = permutation(np.arange(50), 1), uniforms(3, 1, 2)
    np.testing.assert_array_equal(np.random.random(3), expected)  # noqa: NPY002
    second = permutation(np.arange(50), 1), uniforms(3, 1, 2)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@given(st.lists(keys, unique=True, max_size=40), st.randoms())
def test_permutation_ignores_the_input_order(ids, random):
    shuffled = random.sample(ids, len(ids))
    a = permutation(np.array(ids, dtype=np.int64), 0, 1)
    b = permutation(np.array(shuffled, dtype=np.int64), 0, 1)
    np.testing.assert_array_equal(a, b)
    assert sorted(a.tolist()) == sorted(ids)


def test_a_removed_sample_keeps_the_order_of_the_others():
    order = permutation(np.arange(100), 0, 3)
    np.testing.assert_array_equal(
        permutation(np.delete(np.arange(100), 17), 0, 3), order[order != 17]
    )


def test_permutations_are_uniform():
    counts = np.zeros((5, 5))
    for epoch in range(4000):
        counts[permutation(np.arange(5), 0, epoch), np.arange(5)] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3
    np.testing.assert_array_equal(counts.sum(axis=0), 4000)


def test_permutation_of_nothing():
    assert permutation(np.empty(0, dtype=np.int64), 1).shape == (0,)

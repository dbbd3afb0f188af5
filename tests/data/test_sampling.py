"""Balanced batches: up to half labelled, samples once per pass, a function of the ids alone."""

import numpy as np
import pytest
from gcdflow.data.randomness import permutation
from gcdflow.data.sampling import Neighbours, plan_epoch
from gcdflow.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

counts = st.integers(0, 70)
batch_sizes = st.integers(2, 33)


def make(n_labelled, n_unlabelled, batch_size, epoch=1, seed=0):
    labelled = 1000 + np.arange(n_labelled)
    unlabelled = 5000 + np.arange(n_unlabelled)
    return plan_epoch(labelled, unlabelled, batch_size=batch_size, seed=seed, epoch=epoch)


@given(counts, counts, batch_sizes)
def test_every_batch_is_full_and_up_to_half_labelled(n_labelled, n_unlabelled, batch_size):
    if n_labelled + n_unlabelled == 0:
        return
    plans = make(n_labelled, n_unlabelled, batch_size)
    assert len(plans) == max(1, round((n_labelled + n_unlabelled) / batch_size))
    expected = min(batch_size // 2, n_labelled)
    if n_unlabelled == 0:
        expected = batch_size
    for plan in plans:
        assert len(plan.ids) == len(plan.occurrences) == batch_size
        assert plan.ids.dtype == plan.occurrences.dtype == np.int64
        assert (plan.ids < 5000).sum() == expected


@given(counts, counts, batch_sizes)
def test_samples_come_once_per_pass(n_labelled, n_unlabelled, batch_size):
    """A sample is repeated only after all of its kind have occurred; occurrences count passes."""
    if n_labelled + n_unlabelled == 0:
        return
    plans = make(n_labelled, n_unlabelled, batch_size)
    ids = np.concatenate([plan.ids for plan in plans])
    occurrences = np.concatenate([plan.occurrences for plan in plans])
    for kind, size in ((ids < 5000, n_labelled), (ids >= 5000, n_unlabelled)):
        seen: dict[int, int] = {}
        for sample, occurrence in zip(ids[kind].tolist(), occurrences[kind].tolist(), strict=True):
            assert occurrence == seen.get(sample, 0)
            seen[sample] = occurrence + 1
            assert len(seen) == size or max(seen.values()) == 1
        if seen:
            assert max(seen.values()) - min(seen.values()) <= 1


@given(st.integers(1, 12), st.integers(30, 70))
def test_few_labelled_samples_are_in_each_batch_once(n_labelled, n_unlabelled):
    for plan in make(n_labelled, n_unlabelled, batch_size=24):
        assert sorted(plan.ids[plan.ids < 5000]) == list(range(1000, 1000 + n_labelled))


def test_halves_against_a_naive_walk():
    """A naive loop draws the samples of both streams one after the other."""
    labelled, unlabelled = np.array([3, 1, 2]), np.arange(10, 21)
    plans = plan_epoch(labelled, unlabelled, batch_size=5, seed=4, epoch=2)
    walks = []
    for stream, ids in enumerate((labelled, unlabelled)):
        walks.append([i for number in range(9) for i in permutation(ids, 4, 2, stream, number)])
    assert len(plans) == 3
    for number, plan in enumerate(plans):
        expected = walks[0][2 * number : 2 * number + 2] + walks[1][3 * number : 3 * number + 3]
        assert plan.ids.tolist() == expected


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=40, unique=True), st.randoms())
def test_input_order_does_not_matter(ids, random):
    cut = len(ids) // 3
    a, b = ids[:cut], ids[cut:]
    expected = plan_epoch(np.array(a), np.array(b), batch_size=4, seed=1, epoch=3)
    random.shuffle(a)
    random.shuffle(b)
    again = plan_epoch(np.array(a), np.array(b), batch_size=4, seed=1, epoch=3)
    for one, other in zip(expected, again, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.occurrences, other.occurrences)


def test_few_samples_come_in_several_passes():
    """More steps are more of the same passes: the first of them stay as they are."""
    options = {"batch_size": 8, "seed": 2, "epoch": 3}
    labelled, unlabelled = np.arange(10), np.arange(100, 130)
    one = plan_epoch(labelled, unlabelled, **options)
    assert len(one) == 5
    several = plan_epoch(labelled, unlabelled, min_steps=15, **options)
    assert len(several) == 15
    for plan, longer in zip(one, several, strict=False):
        np.testing.assert_array_equal(plan.ids, longer.ids)
        np.testing.assert_array_equal(plan.occurrences, longer.occurrences)
    ids = np.concatenate([plan.ids for plan in several])
    counts = np.unique(ids, return_counts=True)[1]
    assert counts.tolist() == [6] * 10 + [2] * 30
    pairs = {(i, k) for plan in several for i, k in zip(plan.ids, plan.occurrences, strict=True)}
    assert len(pairs) == 15 * 8, "each time, a sample has other views"
    enough = plan_epoch(labelled, unlabelled, min_steps=5, **options)
    assert [plan.ids.tolist() for plan in enough] == [plan.ids.tolist() for plan in one]


def test_epochs_and_seeds_differ():
    first = [tuple(plan.ids) for plan in make(40, 40, 8)]
    assert first != [tuple(plan.ids) for plan in make(40, 40, 8, epoch=2)]
    assert first != [tuple(plan.ids) for plan in make(40, 40, 8, seed=1)]
    assert first == [tuple(plan.ids) for plan in make(40, 40, 8)]


def test_labelled_and_unlabelled_orders_are_independent():
    ids = np.arange(64)
    (plan,) = plan_epoch(ids, ids, batch_size=128, seed=0, epoch=1)
    assert not np.array_equal(plan.ids[:64], plan.ids[64:])


def test_no_samples():
    with pytest.raises(InputError, match="the split has no training samples"):
        make(0, 0, 8)


def test_neighbours_come_beside_their_samples():
    """Of 16 unlabelled places, 8 bring a neighbour of the 8 before; who has none leaves it."""
    labelled, unlabelled = np.arange(20), np.arange(20, 80)
    lists = np.full((80, 3), -1)
    lists[30:, 0] = np.arange(30, 80) - 30  # others than 20 to 29 have one or two
    lists[60:, 1] = np.arange(60, 80) - 1
    options = {"batch_size": 32, "seed": 2}
    ids = np.random.default_rng(0).permutation(80)
    neighbours = Neighbours(ids, lists[ids])
    drawn = set()
    for epoch in range(1, 9):
        plain = plan_epoch(labelled, unlabelled, epoch=epoch, **options)
        plans = plan_epoch(labelled, unlabelled, epoch=epoch, neighbours=neighbours, **options)
        seen: dict[int, int] = {}
        for one, other in zip(plans, plain, strict=True):
            np.testing.assert_array_equal(one.ids[:24], other.ids[:24])
            for sample, beside, without in zip(
                *(one.ids[16:24], one.ids[24:], other.ids[24:]), strict=True
            ):
                expected = lists[sample][lists[sample] >= 0].tolist() or [without]
                assert beside in expected
                drawn.add((int(sample), expected.index(beside), len(expected)))
            for sample, occurrence in zip(one.ids.tolist(), one.occurrences.tolist(), strict=True):
                assert occurrence == seen.get(sample, 0)
                seen[sample] = occurrence + 1
    assert {(number, of) for _, number, of in drawn} == {(0, 1), (0, 2), (1, 2)}


def test_neighbours_are_drawn_anew_in_each_epoch_and_occurrence():
    """The draw is a function of seed, epoch, sample and occurrence: docs/contract.md, section 5."""
    ids, others = np.arange(12), np.arange(100, 110)
    lists = np.concatenate([np.tile(others, (12, 1)), np.full((10, 10), -1)])
    every = Neighbours(np.concatenate([ids, others]), lists)
    options = {"batch_size": 8, "min_steps": 12, "neighbours": every}
    none = np.array([], dtype=np.int64)

    def drawn(seed: int, epoch: int) -> dict[tuple[int, int], int]:
        found, seen = {}, {}
        for plan in plan_epoch(none, ids, seed=seed, epoch=epoch, **options):
            for sample, beside in zip(plan.ids[:4].tolist(), plan.ids[4:].tolist(), strict=True):
                number = seen[sample] = seen.get(sample, -1) + 1
                found[sample, number] = beside
        return found

    first = drawn(0, 1)
    assert first == drawn(0, 1)
    for other in (drawn(0, 2), drawn(1, 1)):
        same = [first[key] == other[key] for key in first.keys() & other.keys()]
        assert np.mean(same) < 0.5
    again = [first[s, n] == first[s, n - 1] for s, n in first if n]
    assert np.mean(again) < 0.5

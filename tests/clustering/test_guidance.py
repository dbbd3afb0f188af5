"""Warnings of guidance against the labels: counted by hand, and said above the limits only."""

from __future__ import annotations

import numpy as np
import pytest
from gcdflow.clustering.guidance import guidance_warnings, is_against
from gcdflow.clustering.matching import count_against_labels
from gcdflow.errors import InputError


@pytest.mark.parametrize(
    ("clusters", "labels", "against"),
    [
        # Cluster 0: classes 1, 1, 2; cluster 1: class 2; cluster 2 has no label.
        ([0, 0, 0, 1, 1, 2], [1, 1, 2, 2, -1, -1], 1),
        ([0, 0, 0, 0], [3, 3, 0, 0], 2),  # a tie: class 0 prevails
        ([0, 0, 0, 0, 0, 0], [0, 1, 1, 2, 2, 2], 3),  # the largest class is not a majority
        ([4, 4, 9, 9], [7, 7, 7, 7], 0),  # one class in two clusters: nothing is against it
        ([0, 0, 0], [-1, -1, 5], 0),  # unlabelled samples have no class that could prevail
        ([0, 1], [-1, -1], 0),
        ([], [], 0),
    ],
)
def test_samples_against_their_labels(clusters, labels, against):
    assert count_against_labels(np.array(clusters), np.array(labels)) == against


def test_clusters_and_labels_of_other_samples():
    with pytest.raises(InputError, match="clusters has 2 and labels has 3 samples"):
        count_against_labels(np.zeros(2, int), np.zeros(3, int))


@pytest.mark.parametrize(
    ("share", "against"), [(None, False), (0.0, False), (0.1, False), (0.101, True), (1.0, True)]
)
def test_the_limit(share, against):
    assert is_against(share) is against


@pytest.mark.parametrize(
    ("against", "labelled", "before"), [(0, 0, 0), (10, 100, None), (10, 100, 5), (3, 100, 40)]
)
def test_what_goes_with_the_labels_is_not_said(against, labelled, before):
    assert guidance_warnings(against, labelled, before) == []


def test_guidance_against_the_labels_is_said_with_what_to_do():
    assert guidance_warnings(11, 100, 11) == [
        "the pseudo labels guide against the labels: 11 of 100 labelled samples are in a cluster "
        "where another class prevails; train longer before the first clustering "
        "(schedule.warmup_epochs), lower pseudo.pseudo_loss_weight, or check the labels"
    ]


def test_guidance_that_made_it_worse_is_said():
    (sentence,) = guidance_warnings(8, 100, 2)
    assert sentence.startswith("guidance has made it worse: labelled samples in a cluster")
    assert "rose from 2 to 8 of 100 since the refresh before; lower pseudo.pseudo_l" in sentence
    assert len(guidance_warnings(40, 100, 2)) == 2

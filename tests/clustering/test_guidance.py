"""Warnings of guidance against the labels: counted by hand, and said above the limits only."""

from __future__ import annotations

import numpy as np
import pytest
from gcdflow.clustering.guidance import (
    collapse,
    edges_of_grid,
    guidance_warnings,
    is_against,
    verdict,
)
from gcdflow.clustering.matching import count_against_labels


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


@pytest.mark.parametrize(
    ("share", "against"), [(None, False), (0.0, False), (0.1, False), (0.101, True), (1.0, True)]
)
def test_the_limit(share, against):
    assert is_against(share) is against


@pytest.mark.parametrize(
    ("similarity", "said"),
    [(None, False), (-0.2, False), (0.98, False), (0.9999, False), (0.99991, True), (1.0, True)],
)
def test_features_that_are_all_alike_have_collapsed(similarity, said):
    assert bool(collapse(similarity)) is said
    assert ("collapsed" in verdict(0.0, 0.0, similarity)) is said


@pytest.mark.parametrize(
    ("against", "labelled", "before"), [(0, 0, 0), (10, 100, None), (10, 100, 5), (3, 100, 40)]
)
def test_what_goes_with_the_labels_is_not_said(against, labelled, before):
    assert guidance_warnings(against, labelled, before) == []


def test_guidance_against_the_labels_is_said_with_what_to_do():
    assert guidance_warnings(11, 100, 11) == [
        "the clusters contradict the labels: 11 of 100 labelled samples are in a cluster "
        "where another class prevails; train longer before the first clustering "
        "(schedule.warmup_epochs), weaken L_pseudo if it guides (pseudo.pseudo_loss_weight), or "
        "check the labels"
    ]


def test_guidance_that_made_it_worse_is_said():
    (sentence,) = guidance_warnings(8, 100, 2)
    assert sentence.startswith("guidance has made it worse: labelled samples in a cluster")
    assert "rose from 2 to 8 of 100 since the refresh before; weaken L_pseudo if it" in sentence
    assert len(guidance_warnings(40, 100, 2)) == 2


# -- verdict and edges -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("against", "change", "expected"),
    [
        (None, None, ""),
        (None, 0.1, ""),
        (0.0, 0.06, "the clusters agree with 100 % of the labels"),
        (0.1, 0.25, "the clusters agree with 90 % of the labels"),
    ],
)
def test_a_good_epoch_alarms_nobody(against, change, expected):
    assert verdict(against, change) == expected


def test_a_poor_epoch_is_told_with_what_to_do():
    said = verdict(0.51, None)
    assert said.startswith("51 % of the labels are contradicted: label more images, or train long")
    said = verdict(0.02, 0.4)
    assert said.startswith("the last refresh moved 40 % of the images to other clusters")
    assert said.endswith("train longer")
    assert len(verdict(0.51, 0.4).split("; ")) == 2


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        ({"k": 10, "percentile": 50}, []),
        ({"k": 3, "percentile": 50}, ["the best k (3) is the smallest of clustering.k"]),
        ({"k": 20, "percentile": 50}, ["the best k (20) is the largest of clustering.k"]),
        ({"k": 9, "percentile": 95}, ["the best percentile (95) is the largest of clustering.per"]),
        ({"k": 9, "percentile": 0}, []),  # there is nothing below
    ],
)
def test_the_best_configuration_at_an_end_of_the_grid(best, expected):
    grid = {"k": range(3, 21), "percentile": [0, 50, 95]}
    said = edges_of_grid(best, grid, 1000)
    assert len(said) == len(expected)
    assert all(a.startswith(b) for a, b in zip(said, expected, strict=True))


def test_ends_that_are_limits_or_of_short_ranges_say_nothing():
    two = {"k": [5, 10], "percentile": [50]}
    assert edges_of_grid({"k": 5, "percentile": 50}, two, 1000) == []
    grid = {"k": [1, 2, 9], "percentile": [50]}
    assert edges_of_grid({"k": 1, "percentile": 50}, grid, 1000) == []
    assert edges_of_grid({"k": 9, "percentile": 50}, grid, 10) == []
    assert edges_of_grid({"k": 9, "percentile": 50}, grid, 11) != []

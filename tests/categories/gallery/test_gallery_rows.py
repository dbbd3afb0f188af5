"""Which images the page shows of a category, and the order of the categories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gcdflow.categories.gallery_rows import affordable, category_means, choose, side_by_side
from gcdflow.files.formats import Features
from small_tables import assignments


def test_old_classes_by_name_then_new_ones_by_number():
    names = ["new-10", "owl", "new-2", "Auk", "new-1", "new-9"]
    table = assignments(names, [0.5] * 6, ["", "owl", "", "Auk", "", "new-9"])
    rows = choose(table, 40)
    assert [row.name for row in rows] == ["Auk", "new-9", "owl", "new-1", "new-2", "new-10"]
    assert [row.is_new for row in rows] == [False] * 3 + [True] * 3


def test_most_certain_first_and_doubtful_ones_apart():
    (row,) = choose(assignments(["new-1"] * 5, [0.3, 0.05, 0.9, 0.0, 0.1]), 5)
    assert row.typical.tolist() == [2, 0, 4]
    assert row.tail.tolist() == [1, 3]
    assert row.n_left_out == 0


@pytest.mark.parametrize(("most", "typical", "tail"), [(8, 6, 2), (1, 1, 0), (19, 15, 4)])
def test_a_large_category_shows_both_ends(most: int, typical: int, tail: int):
    (row,) = choose(assignments(["new-1"] * 20, (np.arange(20) / 20).tolist()), most)
    assert row.typical.tolist() == list(range(19, 19 - typical, -1))
    assert row.tail.tolist() == list(range(tail - 1, -1, -1))
    assert row.n_left_out == 20 - most


def test_labelled_images_do_not_crowd_out_the_others():
    labels = ["owl"] * 10 + [""] * 10
    table = assignments(["owl"] * 20, [1] * 10 + (np.arange(10) / 10).tolist(), labels)
    table = replace(table, suggested=["", "new-1", *[""] * 18])
    (row,) = choose(table, 8)
    assert row.typical.tolist() == [9, 1, 19, 18, 17, 16]  # questioned ones are among those shown
    assert row.tail.tolist() == [11, 10]
    assert sorted(row.positions.tolist()) == list(range(20))
    (row,) = choose(replace(table, labels=["owl"] * 17 + [""] * 3, suggested=[""] * 20), 8)
    assert row.typical.tolist() == [12, 13, 14, 15, 16, 19]
    assert row.tail.tolist() == [18, 17]
    (row,) = choose(replace(table, labels=["owl"] * 20, suggested=[""] * 20), 8)
    assert row.typical.tolist() == list(range(12, 20))
    assert row.tail.tolist() == []
    (row,) = choose(table, 20)
    assert row.typical[:10].tolist() == [0, *range(2, 10), 1]
    assert row.n_left_out == 0


def test_many_categories_show_fewer_images_each(run, monkeypatch):
    assert affordable([1000] * 100, 40) == 40
    assert affordable([1000] * 101, 40) == 39
    assert affordable([1000] * 50 + [1] * 900, 40) == 40  # small ones take little
    assert affordable([1000] * 5000, 40) == 4
    assert affordable([1000] * 5000, 2) == 2
    monkeypatch.setattr("gcdflow.categories.gallery_rows._MOST_ON_A_PAGE", 15)
    table = assignments(["new-1"] * 10 + ["new-2"] * 10 + ["new-3"], [0.5] * 21)
    assert len(run(table, most=8).thumbnails) == 7 + 7 + 1
    assert run.said.startswith(
        "15 of 21 images in 3 categories (at most 7 per category to limit the"
    )
    assert len(run(table, most=7).thumbnails) == 15
    assert "at most" not in run.said


# -- look-alike categories -------------------------------------------------------------------------


def test_look_alike_categories_are_neighbours():
    table = assignments(["a", "new-1", "b", "new-2", "c"], [0.5] * 5, ["a", "", "b", "", "c"])
    rows = choose(table, 40)
    assert [row.name for row in rows] == ["a", "b", "c", "new-1", "new-2"]
    places = np.array([[0.0, 0], [10, 0], [30, 0], [1, 0], [12, 0]])
    ordered, alike = side_by_side(rows, places)
    assert [row.name for row in ordered] == ["a", "new-1", "b", "new-2", "c"]
    assert alike == [False, True, False, True, True]  # the nearest of c is new-2
    for few in (rows[:1], []):
        assert side_by_side(few, places[: len(few)]) == (few, [False] * len(few))


def test_a_category_lies_where_its_core_points_point():
    table = assignments(["a", "a", "a", "new-1"], [0.5] * 4, ["a", "", "", ""])
    table = replace(table, core_mask=np.array([True, True, False, False]))
    vectors, at = np.array([[0, 0], [2.0, 0], [0, 5], [-9, -9]]), np.array([1, 2, 3, 0])
    means = category_means(choose(table, 40), table, vectors, at)
    np.testing.assert_allclose(means, [[0.5, 0.5], [0, 0]])  # lengths do not count
    added = category_means(choose(table, 40), table, vectors, np.array([1, -1, 3, -1]))
    np.testing.assert_allclose(added, [[1, 0], [0, 0]])


def test_the_page_has_the_order_of_the_features(run, tmp_path: Path):
    table = assignments(["a", "b", "new-1"], [0.5] * 3, ["a", "b", ""])
    features = Features(
        features=np.array([[1, 0], [0, 1], [1, 0.1]], dtype=np.float32)[[2, 0, 1]],
        indices=np.array([2, 0, 1]),
        labels=np.array([-1, -1, -1]),
        train_mask=np.ones(3, dtype=bool),
        metadata={},
    )
    features.save(tmp_path / "f.npz")
    page = run(table, features_path=tmp_path / "f.npz")
    names = [section["aria-label"] for section in page.all("section")]
    assert names == ["a", "new-1", "b"]
    assert [category["name"] for category in page.data["categories"]] == names
    index = [link["href"] for link in page.all("a")]
    assert index == ["#c1", "#c3", "#c2"]  # by name

"""A page of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gcdflow.categories.assignments import Assignments
from gcdflow.categories.gallery import write_gallery
from parsed_page import Page
from PIL import Image
from small_tables import split_of


@pytest.fixture
def run(tmp_path: Path):
    """A function that makes a page from categories, confidences and labels of photographs."""

    def make(table: Assignments, /, change=None, **options) -> Page:
        rng = np.random.default_rng(0)
        for path in table.paths:
            file = tmp_path / "images" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            size = (int(rng.integers(60, 300)), int(rng.integers(60, 300)))
            Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist())).save(file)
        split = split_of(table, tmp_path / "images", "cub", "owl")
        (split if change is None else change(split)).save(tmp_path / "split.npz")
        table.save(tmp_path / "a.csv")
        output = tmp_path / "gallery.html"
        make.said = write_gallery(tmp_path / "split.npz", tmp_path / "a.csv", output, **options)
        return Page(output.read_text(encoding="utf-8"))

    return make

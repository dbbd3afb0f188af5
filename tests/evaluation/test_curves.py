from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from gcdflow.evaluation.curves import PANELS, draw_curves
from gcdflow.files.event_log import write_scalars
from PIL import Image
from stage_processes import in_process


def drawn(axes) -> dict[str, list[list[float]]]:
    """Name and points of each curve of a panel."""
    return {line.get_label(): np.transpose(line.get_data()).tolist() for line in axes.lines}


@pytest.mark.parametrize("n", [1, 200])
def test_every_tag_of_a_run_is_drawn_in_its_panel(n: int):
    tags = [tag for _, curves in PANELS for tag in curves]
    curves = {tag: [(epoch, epoch / 7 + at) for epoch in range(n)] for at, tag in enumerate(tags)}
    figure = draw_curves(curves | {"something else": [(0, 1.0)]}, "a run")
    assert figure.get_suptitle() == "a run"
    for axes, (name, names) in zip(figure.axes, PANELS, strict=True):
        assert (axes.get_title(), axes.get_xlabel(), list(axes.texts)) == (name, "epoch", [])
        expected = {}
        for tag, label in names.items():
            expected["_" * tag.startswith("test_") + label] = np.array(curves[tag]).tolist()
        assert drawn(axes) == expected
        assert {line.get_marker() for line in axes.lines} == {"o" if n == 1 else ""}
        shown = axes.get_legend()
        texts = [text.get_text() for text in shown.get_texts()] if shown else []
        assert texts == ([x for x in expected if x[0] != "_"] if len(expected) > 1 else [])


def test_the_test_split_has_the_colours_of_the_training_split_and_dashes():
    parts = ("all", "old", "new")
    curves = {f"{split}_acc_{part}": [(1, 0.5)] for split in ("val", "test") for part in parts}
    lines = {line.get_label(): line for line in draw_curves(curves).axes[1].lines}
    for part in parts:
        own, test = lines[part], lines[f"_{part}"]
        assert (own.get_linestyle(), test.get_linestyle()) == ("-", "--")
        assert own.get_color() == test.get_color()
    assert len({lines[part].get_color() for part in parts}) == 3


def test_a_panel_without_curves_says_so():
    figure = draw_curves({"gamma": [(1, 0.5)]})
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said == [["not logged"]] * 4 + [[], ["not logged"]]


def test_values_that_are_not_finite_leave_gaps():
    values = [2.0, math.nan, math.inf, 1.0]
    figure = draw_curves({"L_total": list(enumerate(values))})
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), values)


def stage(tmp_path: Path, log_dir: str) -> str:
    result = in_process("curves", "--log-dir", log_dir, "--output", "c.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_the_stage_draws_the_logged_curves(tmp_path: Path):
    log = tmp_path / "log"
    log.mkdir()
    write_scalars(log, "x", 3, {"L_total": 1.0, "gamma": 0.5})
    assert stage(tmp_path, "log").endswith("c.png: 2 curves\n")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.size == (1300, 660)


def test_a_deleted_log_is_no_error(tmp_path: Path):
    said = stage(tmp_path, "log").splitlines()
    assert said[0].endswith("log: contains no scalars; the picture stays empty")
    assert said[-1].endswith("c.png: 0 curves")

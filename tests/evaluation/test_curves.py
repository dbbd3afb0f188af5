from __future__ import annotations

import math
from pathlib import Path

import pytest
from gcdflow.evaluation.curves import PANELS, draw_curves
from gcdflow.files.event_log import write_scalars
from PIL import Image
from stage_processes import in_process


def colours(path: Path) -> int:
    with Image.open(path) as picture:
        assert picture.size == (1300, 660)
        return len(picture.convert("RGB").getcolors(maxcolors=1_000_000))


@pytest.mark.parametrize("n", [1, 200])
def test_every_tag_of_a_run_is_drawn(tmp_path: Path, n: int):
    tags = [tag for _, curves in PANELS for tag in curves]
    curves = {tag: [(epoch, epoch / 7) for epoch in range(n)] for tag in tags}
    curves["something else"] = [(0, 1.0)]
    assert draw_curves(curves, tmp_path / "c.png", "a run") == len(tags)
    draw_curves({}, tmp_path / "empty.png", "a run")
    assert colours(tmp_path / "c.png") > colours(tmp_path / "empty.png")


def test_values_that_are_not_finite_leave_gaps(tmp_path: Path):
    curves = {"L_total": [(1, 2.0), (2, math.nan), (3, math.inf), (4, 1.0)]}
    assert draw_curves(curves, tmp_path / "c.png") == 1


def stage(tmp_path: Path, log_dir: str) -> str:
    result = in_process("curves", "--log-dir", log_dir, "--output", "c.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_the_stage_draws_the_logged_curves(tmp_path: Path):
    log = tmp_path / "log"
    log.mkdir()
    write_scalars(log, "x", 3, {"L_total": 1.0, "gamma": 0.5})
    assert stage(tmp_path, "log").endswith("c.png: 2 curves\n")


def test_a_deleted_log_is_no_error(tmp_path: Path):
    said = stage(tmp_path, "log").splitlines()
    assert said[0].endswith("log: contains no scalars; the picture stays empty")
    assert said[-1].endswith("c.png: 0 curves")
    assert colours(tmp_path / "c.png") > 1

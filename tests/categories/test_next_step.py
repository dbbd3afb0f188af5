"""What a first look says of the training that follows: the command, and an honest time."""

from __future__ import annotations

from pathlib import Path

import pytest
from gcdflow.categories.next_step import NextStep, next_step, seconds_of_training
from gcdflow.config.runs import load_runs, merged
from gcdflow.config.settings import RunSettings

CONFIG = Path(__file__).parents[2] / "config" / "config.yaml"


def changed(**sections: object) -> RunSettings:
    photos = load_runs(CONFIG)["photos"].model_dump()
    return RunSettings.model_validate(merged(photos, sections))


PHOTOS = changed()
# Clip art with 224 pixels, as the run was when these times were measured.
AS_ONCE = {
    "schedule": {"warmup_epochs": 10, "refresh_interval": 5, "total_epochs": 20},
    "training": {"views": 4},
}


@pytest.mark.parametrize(
    ("changes", "n", "start", "look", "took", "width"),
    [
        ({}, 405, 7.24, 29.8, 250, 3),
        ({}, 400, 7.72, 13.45, 234, 2),
        ({"training": {"views": None}}, 400, 7.72, 13.45, 600, 2),
        (AS_ONCE, 405, 6.6, 33.5, 251, 3),
        (AS_ONCE, 2000, 6.05, 95.8, 733, 4),  # the more images, the less do starts of jobs count
    ],
    ids=["405 of clip art", "400 JPEGs", "JPEGs, fresh views", "405 once", "2,000 once"],
)
def test_measured_trainings_take_as_long_as_said(
    changes: dict, n: int, start: float, look: float, took: float, width: float
):
    """On two idle cores, by the workflow: train, features, clusterings, gallery."""
    least, most = seconds_of_training(changed(**changes), n, start, look)
    assert least < took < most < width * least


@pytest.mark.parametrize(
    ("end", "fresh_epoch", "epoch"), [(0, 1.2, 0.08), (1, 2.2, 0.43)], ids=["least", "most"]
)
def test_more_work_takes_longer(end: int, fresh_epoch: float, epoch: float):
    """Epochs are in units of the features of all images."""

    def seconds(settings: RunSettings = PHOTOS, n: int = 1000, look: float = 60.0) -> float:
        return seconds_of_training(settings, n, 5.0, look)[end]

    assert seconds(look=120.0) > seconds() > seconds(look=30.0)
    assert seconds(changed(schedule={"total_epochs": 80})) > 1.5 * seconds()
    assert seconds(changed(training={"views": 16})) > seconds()
    fresh = changed(training={"views": None})  # each epoch reads the images, and makes two views
    assert seconds(fresh) > 40 * fresh_epoch * (60.0 - 5.0)
    # 8 steps of 128 are about one pass over 1,000 images, and ten passes over 100.
    steps = changed(training={"min_steps": 8})
    assert seconds(steps) == pytest.approx(seconds(), rel=0.02)
    assert seconds(steps, n=100) > seconds(n=100) + 9 * 40 * epoch * (60.0 - 5.0)
    assert seconds(look=1.0) == seconds(look=5.0) > 0, "a look cannot take less than nothing"


HEADER = "s\th:m:s\tmax_rss\n"


def benchmark(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_what_snakemake_measured_is_read(tmp_path: Path):
    started = benchmark(tmp_path / "started.tsv", f"{HEADER}6.6000\t0:00:06\t741.75\n")
    looked = benchmark(tmp_path / "looked.tsv", f"{HEADER}33.45\t0:00:33\t1000\n")
    found = next_step("snakemake x", PHOTOS, 405, started, looked)
    assert found.seconds == pytest.approx(seconds_of_training(PHOTOS, 405, 6.6, 33.45))
    assert NextStep("snakemake x", (63.0, 63.4)).time.startswith("which takes about 63 s here")
    expected = "which takes between 4 min and 13 min here, judging by the time of this look"
    assert found.time == expected


@pytest.mark.parametrize(
    "text", [None, "", HEADER, "seconds\n3\n", f"{HEADER}-\t-\t-\n", f"{HEADER}1\t\t\n2\t\t\n"]
)
def test_without_a_measurement_no_time_is_invented(tmp_path: Path, text: str | None):
    started = benchmark(tmp_path / "started.tsv", f"{HEADER}6.6\t0:00:06\t741.75\n")
    looked = tmp_path / "looked.tsv"
    if text is not None:
        looked.write_text(text)
    for pair in ((started, looked), (looked, started)):
        found = next_step("snakemake x", PHOTOS, 405, *pair)
        assert found == NextStep("snakemake x", None)
        assert "about" not in found.time
        assert "between" not in found.time

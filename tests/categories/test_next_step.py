"""What a first look says of the training that follows: the command, and an honest time."""

from __future__ import annotations

from pathlib import Path

import pytest
from gcdflow.categories.next_step import NextStep, next_step, seconds_of_training
from gcdflow.config.runs import load_runs, merged
from gcdflow.config.settings import RunSettings

CONFIG = Path(__file__).parents[2] / "config" / "config.yaml"
# The run as its times were measured.
SCHEDULE = {"warmup_epochs": 10, "refresh_interval": 5, "total_epochs": 20}


def changed(**sections: object) -> RunSettings:
    photos = merged(load_runs(CONFIG)["photos"].model_dump(), {"schedule": SCHEDULE})
    return RunSettings.model_validate(merged(photos, sections))


PHOTOS = changed()


@pytest.mark.parametrize(
    ("n", "start", "look", "took"),
    [(405, 6.6, 33.5, 251), (2000, 6.05, 95.8, 733)],
    ids=["405 pictures", "2,000 pictures"],
)
def test_the_time_is_that_of_measured_trainings(n: int, start: float, look: float, took: float):
    """Clip art on two idle cores, by the workflow: train, features, clusterings, gallery."""
    assert seconds_of_training(PHOTOS, n, start, look) == pytest.approx(took, rel=0.1)


def test_more_work_takes_longer():
    def seconds(settings: RunSettings = PHOTOS, n: int = 1000, look: float = 60.0) -> float:
        return seconds_of_training(settings, n, 5.0, look)

    assert seconds(look=120.0) > seconds() > seconds(look=30.0)
    assert seconds(changed(schedule={"total_epochs": 40})) > 1.5 * seconds()
    assert seconds(changed(training={"views": 8})) > seconds()
    fresh = changed(training={"views": None})  # each epoch reads the images, and makes two views
    assert seconds(fresh) > 20 * 1.5 * (60.0 - 5.0)
    # 8 steps of 128 are about one pass over 1,000 images, and ten passes over 100.
    steps = changed(training={"min_steps": 8})
    assert seconds(steps) == pytest.approx(seconds(), rel=0.02)
    assert seconds(steps, n=100) > seconds(n=100) + 9 * 20 * 0.2 * (60.0 - 5.0)
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
    assert found.time == "which takes about 4 min here, judging by the time of this look"


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

"""How far long work is, and the time that is left."""

from __future__ import annotations

from gcdflow import progress
from gcdflow.progress import Progress


class Clock:
    """A time that tests set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_reports_are_rare_and_the_last_step_needs_none():
    clock = Clock()
    work, due = Progress(10, clock=clock), []
    for step in range(1, 11):
        clock.now += 20
        if work.is_due(step):
            due.append(step)
    assert due == [2, 4, 6, 8]
    assert not work.is_due(10)


def test_short_work_says_nothing():
    clock = Clock()
    work = Progress(100, clock=clock)
    for step in range(1, 101):
        clock.now += 0.29
        assert not work.is_due(step)


def test_what_something_else_reports_counts():
    clock = Clock()
    work = Progress(10, clock=clock)
    clock.now += 40
    work.has_reported()
    assert not work.is_due(3)
    clock.now += 29.9
    assert not work.is_due(4)
    clock.now += 0.2
    assert work.is_due(5)


def test_the_time_left_follows_from_the_speed_of_this_call_alone():
    clock = Clock()
    work = Progress(100, done=60, clock=clock)
    clock.now += 50
    assert not work.is_due(60), "nothing is known of the speed"
    assert work.is_due(70)
    assert work.left(70) == "2 min left"
    assert work.left(70, 80) == "50 s left"


def test_the_time_between_reports_is_one_constant(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_REPORTS", 5.0)
    clock = Clock()
    work = Progress(10, clock=clock)
    clock.now += 5
    assert work.is_due(1)

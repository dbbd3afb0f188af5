"""Report how far long work is, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable

from gcdflow.wording import duration

SECONDS_BETWEEN_REPORTS = 30.0


class Progress:
    """When to report of work that consists of equal steps, and the time that is left.

    The first report comes after :data:`SECONDS_BETWEEN_REPORTS`, so that short work makes none.

    Parameters
    ----------
    total : int
        Number of steps.
    done : int
        Steps that are done already; they say nothing of the speed.
    clock : callable
        The time in seconds; tests give their own.
    """

    def __init__(self, total: int, *, done: int = 0, clock: Callable[[], float] = time.monotonic):
        self._total, self._first, self._clock = total, done, clock
        self._every = SECONDS_BETWEEN_REPORTS
        self._began = self._last = clock()

    def is_due(self, done: int) -> bool:
        """Whether to report now that so many steps are done; the last one needs no report."""
        if not self._first < done < self._total or self._clock() - self._last < self._every:
            return False
        self.has_reported()
        return True

    def has_reported(self) -> None:
        """Say that something else has reported just now."""
        self._last = self._clock()

    def left(self, done: int, total: int | None = None) -> str:
        """What the steps after ``done`` will take, at the speed so far, such as ``3 min left``.

        Parameters
        ----------
        total : int or None
            Number of steps, where that is another than of this work.
        """
        speed = (self._clock() - self._began) / (done - self._first)
        return f"{duration(speed * ((self._total if total is None else total) - done))} left"

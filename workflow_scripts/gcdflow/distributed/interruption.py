"""Signals that ask a stage to end: what it still does, and with which status it exits.

A stage that has something to save (:class:`Deferred`) ends at a moment of its choice; any other
ends at once, and the temporary file that it was writing goes with it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from gcdflow.files.processes import process_start

log = logging.getLogger(__name__)

# EX_TEMPFAIL of sysexits.h: nothing is wrong, try again. Other than 143, which a shell reports for
# a process that SIGTERM killed before it could save anything.
EXIT_TERMINATED = 75
EXIT_INTERRUPTED = 130  # what shells expect after Ctrl-C
_STATUS = {signal.SIGTERM: EXIT_TERMINATED, signal.SIGINT: EXIT_INTERRUPTED}
SIGNALS = tuple(_STATUS)

WORKFLOW_PID = "GCDFLOW_WORKFLOW_PID"
_SECONDS_BETWEEN_LOOKS = 1.0


class Ended(BaseException):
    """This process has to end, with a status. No ``Exception``: nobody handles it but the stage."""

    status: int


class Interrupted(Ended):
    """A signal asked this process to end."""

    def __init__(self, signum: int, done: str = ""):
        self.signal_name = signal.Signals(signum).name
        self.status = _STATUS[signal.Signals(signum)]
        super().__init__(f"interrupted by {self.signal_name}{done}")


def _raise(signum: int, frame: FrameType | None) -> None:
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # on the way out another one would only get lost
    raise Interrupted(signum)


def end_on_signals() -> None:
    """Let SIGTERM (a walltime warning) and SIGINT (Ctrl-C) raise :class:`Interrupted`."""
    for signum in SIGNALS:
        signal.signal(signum, _raise)


def outlive_first_sigterm() -> None:
    """Let this process ignore one SIGTERM: what a process that works for a stage does first.

    A cluster sends it to all processes of a job. The stage answers it, and still needs the others
    to finish its step.
    """

    def ignore_once(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, ignore_once)


def kill_helpers() -> None:
    """End the processes that work for this one, at once.

    At exit Python sends each of them a SIGTERM and waits for ever; see
    :func:`outlive_first_sigterm`.
    """
    for helper in multiprocessing.active_children():
        helper.kill()


class Deferred:
    """A context in which a first signal is only noted; a second one ends the process at once.

    Parameters
    ----------
    agree : callable, optional
        Among several processes that must end together: takes the signal that came to this one (0:
        none), gives the one that all obey. A second signal ends nothing then: one Ctrl-C or
        walltime warning may come twice, from its sender and passed on by the launcher, who sees to
        the rest.

    Attributes
    ----------
    signum : int or None
        The signal that came to this process.
    """

    def __init__(self, agree: Callable[[int], int] | None = None) -> None:
        self.signum: int | None = None
        self._agree = agree
        self._before: dict[int, object] = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum = signum
        elif self._agree is None:
            raise Interrupted(signum)

    def __enter__(self) -> Self:
        # Python delivers signals to the main thread only; elsewhere there is nothing to defer.
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._note) for signum in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # With several processes the other copy of what ended this one may still be on its way.
        ignored = self._agree is not None and error is not None
        for signum, handler in self._before.items():
            signal.signal(signum, signal.SIG_IGN if ignored else handler)

    def raise_if_requested(self, done: str = "") -> None:
        """Raise :class:`Interrupted` if a signal came; ``done`` says what was saved."""
        if signum := self.requested():
            raise Interrupted(signum, done)

    def requested(self) -> int:
        """The signal that asks for the end, 0 if there is none; all that agree must ask."""
        signum = self.signum or 0
        return signum if self._agree is None else self._agree(signum)


def end_with_workflow() -> None:
    """End this process when the Snakemake (or launcher) that started it is gone.

    A stage that lives on after its Snakemake was killed would write what the next one is making.
    """
    pid = os.environ.get(WORKFLOW_PID, "")
    if not pid.isdecimal() or process_start(int(pid)) is None:
        return  # started by hand, or Snakemake is in another container

    def watch(began: str | None) -> None:
        while process_start(int(pid)) == began:
            stopped.wait(_SECONDS_BETWEEN_LOOKS)
        log.warning("the process that started this is gone")
        os.kill(os.getpid(), signal.SIGTERM)

    stopped = threading.Event()
    threading.Thread(target=watch, args=(process_start(int(pid)),), daemon=True).start()

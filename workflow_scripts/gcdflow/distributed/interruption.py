"""Signals that ask a stage to end, and the exit statuses that follow.

A stage that must save something (:class:`Deferred`) ends when it has saved. Any other stage ends at
once and deletes the temporary file that it was writing.
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

# EX_TEMPFAIL of sysexits.h: nothing is wrong, try again. It differs from 143, which a shell reports
# for a process that SIGTERM killed before it could save.
EXIT_TERMINATED = 75
EXIT_INTERRUPTED = 130  # what shells expect after Ctrl-C
_STATUS = {signal.SIGTERM: EXIT_TERMINATED, signal.SIGINT: EXIT_INTERRUPTED}
SIGNALS = tuple(_STATUS)

WORKFLOW_PID = "GCDFLOW_WORKFLOW_PID"
_SECONDS_BETWEEN_LOOKS = 1.0


class Ended(BaseException):
    """This process must end with a status. It is no ``Exception``: only the stage handles it."""

    status: int


class Interrupted(Ended):
    """A signal asked this process to end."""

    def __init__(self, signum: int, done: str = ""):
        self.signal_name = signal.Signals(signum).name
        self.status = _STATUS[signal.Signals(signum)]
        super().__init__(f"interrupted by {self.signal_name}{done}")


def _raise(signum: int, frame: FrameType | None) -> None:
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # the process is ending already
    raise Interrupted(signum)


def end_on_signals() -> None:
    """Let SIGTERM (a walltime warning) and SIGINT (Ctrl-C) raise :class:`Interrupted`."""
    for signum in SIGNALS:
        signal.signal(signum, _raise)


def outlive_first_sigterm() -> None:
    """Ignore the first SIGTERM; a helper process calls this first.

    A cluster sends SIGTERM to all processes of a job. The stage reacts to it, and needs its helpers
    to finish the current step.
    """

    def ignore_once(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, ignore_once)


def kill_helpers() -> None:
    """Kill the helper processes of this one.

    At exit, Python would send each of them a SIGTERM, which they ignore
    (:func:`outlive_first_sigterm`), and wait forever.
    """
    for helper in multiprocessing.active_children():
        helper.kill()


class Deferred:
    """A context that only notes the first signal; a second one ends the process at once.

    Parameters
    ----------
    agree : callable, optional
        Needed if several processes must end together. It takes the signal that this process
        received (0: none) and returns the one that all obey. A second signal is then ignored: the
        same Ctrl-C or walltime warning may arrive twice, from its sender and from the launcher. The
        launcher kills the ranks if a person sends a second one.

    Attributes
    ----------
    signum : int or None
        The signal that this process received.
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
        # Python delivers signals to the main thread only.
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._note) for signum in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # With several processes, a copy of the same signal may still arrive.
        ignored = self._agree is not None and error is not None
        for signum, handler in self._before.items():
            signal.signal(signum, signal.SIG_IGN if ignored else handler)

    def raise_if_requested(self, done: str = "") -> None:
        """Raise :class:`Interrupted` if a signal arrived; ``done`` says what was saved."""
        if signum := self.requested():
            raise Interrupted(signum, done)

    def requested(self) -> int:
        """The signal that all processes obey (0: none); every process must call this."""
        signum = self.signum or 0
        return signum if self._agree is None else self._agree(signum)


def end_with_workflow() -> None:
    """End this process when the Snakemake (or launcher) that started it is gone.

    Otherwise, a stage whose Snakemake was killed would write the same files as the next one.
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

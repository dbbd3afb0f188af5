"""A lock that ends with its owner, also on a file system that several hosts share.

The owner of a path holds a file ``<path>.lock-<n>``. It creates this file exclusively (which is
atomic on local disks and on NFS from version 3) and writes a new heartbeat into it every few
seconds. If the owner is dead, another process takes over by creating ``<path>.lock-<n+1>``; only
one process succeeds. An owner on this machine is dead if its process is gone. An owner on another
machine is dead if its heartbeat does not change for a while; the waiting process measures this
with its own clock. An owner that was only suspended finds the higher number before it writes, and
gives up.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any, Self

from gcdflow.errors import InputError
from gcdflow.files.atomic import unwritable
from gcdflow.files.processes import machine, private_file, process_start, remove_orphans

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0
PATIENCE_SECONDS = 20.0  # wait this long for an owner that is about to end
_LOOK_SECONDS = 0.2
_ASIDE = threading.Lock()  # all threads of a process use the same temporary file


class Lease:
    """Exclusive right to write a path, as a context manager.

    Parameters
    ----------
    path : Path
        Path to lock; the lock file is in the same folder.

    Raises
    ------
    InputError
        On entry, if a living process holds the lock, or the folder is not writable.
    """

    def __init__(self, path: Path):
        self._path = Path(path)
        self._pattern = re.compile(re.escape(f"{self._path.name}.lock-") + r"(\d+)")
        self._number = 0
        self._beats = 0
        self._is_lost = False
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self._path, error) from None
        remove_orphans(self._path, "lock")
        while True:
            number, owner = self._current()
            if owner is not None:
                self._wait_for_death(number, owner)
            if self._create(number + 1):
                break
        for older in range(1, self._number):
            self._file(older).unlink(missing_ok=True)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._heart.join()
        self._file(self._number).unlink(missing_ok=True)

    def check(self) -> None:
        """Check that no other process has taken over; call this before each write.

        Raises
        ------
        InputError
            If another process has taken over.
        """
        number, _ = self._current()
        if self._is_lost or number > self._number or not self._file(self._number).exists():
            raise InputError(
                f"{self._path}: another process has taken this over while this one stood still; "
                "that process continues"
            )

    def _file(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.lock-{number}")

    def _current(self) -> tuple[int, dict[str, Any] | None]:
        """Highest number and its owner; (0, None) if no process holds the lock."""
        numbers = [
            int(match[1])
            for name in os.listdir(self._path.parent)
            if (match := self._pattern.fullmatch(name))
        ]
        if not numbers:
            return 0, None
        return max(numbers), self._read(max(numbers))

    def _read(self, number: int) -> dict[str, Any] | None:
        """The owner's entry in a lock file; None if the owner has released it."""
        try:
            return json.loads(self._file(number).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return {}  # incomplete or damaged; the waiting time decides

    def _create(self, number: int) -> bool:
        """Create the lock file with this number; False if another process was faster."""
        with _ASIDE:
            own = self._write_aside()
            try:
                os.link(own, self._file(number))  # atomic; fails if the file exists
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                try:
                    with open(self._file(number), "x", encoding="utf-8") as file:
                        file.write(own.read_text(encoding="utf-8"))
                except FileExistsError:
                    return False
            finally:
                own.unlink()
        self._number = number
        return True

    def _write_aside(self) -> Path:
        owner = {
            "machine": machine(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "began": process_start(os.getpid()),
            "beats": self._beats,
        }
        aside, text = private_file(self._path, "lock"), json.dumps(owner)
        try:
            aside.write_text(text, encoding="utf-8")
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise unwritable(self._path, error, len(text), len(text)) from None
        return aside

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            if not self._file(self._number).exists():
                self._is_lost = True  # even if the process that took over has ended
                return
            self._beats += 1
            # A disk that is briefly full must not end the training.
            with _ASIDE, contextlib.suppress(OSError, InputError):
                os.replace(self._write_aside(), self._file(self._number))

    def _wait_for_death(self, number: int, owner: dict[str, Any]) -> None:
        """Wait until the owner of a number is gone; raise InputError if it is alive."""
        is_here = owner.get("machine") == machine()
        began = time.monotonic()
        while True:
            now = self._read(number)
            if now is None or (is_here and not _is_alive(now)):
                return
            waited = time.monotonic() - began
            if not is_here:
                if now != owner:
                    break
                if waited > DEAD_AFTER_SECONDS:
                    log.warning("%s: its owner on %s is dead", self._path, owner.get("host"))
                    return
            elif waited > PATIENCE_SECONDS:
                break
            time.sleep(_LOOK_SECONDS)
        raise InputError(
            f"{self._path}: is being written by process {owner.get('pid')} on "
            f"{owner.get('host')}; wait until it ends, or end it"
        )


def _is_alive(owner: dict[str, Any]) -> bool:
    return owner.get("pid") is not None and process_start(owner["pid"]) == owner.get("began")

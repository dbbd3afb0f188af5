"""Start a stage as several processes (ranks) of this machine, and end as they end.

The ranks find each other as under torchrun, by the same environment variables, and torchrun can
start them instead. Its own agent is not used because it kills what has not ended 30 s after a
signal, forgets the ranks' statuses then, and reports an error once for each rank and once more.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

from gcdflow.distributed.interruption import SIGNALS, WORKFLOW_PID, Interrupted

if TYPE_CHECKING:
    from torch.distributed import TCPStore

log = logging.getLogger(__name__)

# EX_PROTOCOL of sysexits.h: a rank that ended only because another one did.
EXIT_PEER_LOST = 76
# For ranks that wait for one that has failed: a GPU waits for ever.
GRACE_SECONDS = 10.0
_SECONDS_BETWEEN_LOOKS = 0.05
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launched_ranks() -> int:
    """Number of ranks that this process was started with by a launcher; 1 if by none.

    A launcher sets all of its variables. Some alone are what a cluster or a job's script has left.
    """
    is_rank = all(name in os.environ for name in _RANK_VARIABLES)
    number = os.environ.get("WORLD_SIZE", "")
    return int(number) if is_rank and number.isdecimal() else 1


def launch(n_ranks: int) -> int:
    """Run this process's own command line as ``n_ranks`` processes until all have ended.

    SIGTERM and SIGINT are passed on; a second one kills the ranks. Where a rank fails, the others
    are killed unless they end soon. They end too, by themselves, when this process is gone.

    Returns
    -------
    int
        Exit status: 0, or that of the rank that failed first (128 + the signal that killed it).

    Raises
    ------
    Interrupted
        If a second signal came.
    """
    listener, port = listen()
    store = serve(listener, port)
    signals: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        signals.append(signum)

    # The ranks inherit the mask: they take no signal before they know what to do with it.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    ranks: list[subprocess.Popen] = []
    try:
        for signum in SIGNALS:
            signal.signal(signum, note)
        for rank in range(n_ranks):
            ranks.append(_start(rank, n_ranks, port))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return _wait(ranks, signals)
    finally:
        _kill(ranks)
        del store  # the ranks needed it until here


def listen() -> tuple[socket.socket, int]:
    """A socket for the store that ranks meet at, and its port.

    It is bound here and to this machine alone: the store believes whoever connects.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


def serve(listener: socket.socket, port: int) -> TCPStore:
    """The store itself, which lives as long as what is returned; takes the socket over."""
    from torch.distributed import TCPStore  # so late, because it takes seconds to import

    return TCPStore(
        *("127.0.0.1", port),
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )


def _start(rank: int, n_ranks: int, port: int) -> subprocess.Popen:
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n_ranks),
        "LOCAL_WORLD_SIZE": str(n_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        WORKFLOW_PID: str(os.getpid()),
    }
    if "lo" in (name for _, name in socket.if_nameindex()):
        # No host name has to resolve, and no interface to be here that a cluster names.
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    # In a session of its own Ctrl-C reaches a rank once: from here.
    command = [sys.executable, *sys.orig_argv[1:]]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _wait(ranks: list[subprocess.Popen], signals: list[int]) -> int:
    """Wait for the end of all ranks, pass signals on, and say which status it makes."""
    failed: list[int] = []  # ranks, in the order in which they were found
    passed_on, deadline = 0, float("inf")
    running = set(range(len(ranks)))
    while running:
        for rank in sorted(running):
            status = ranks[rank].poll()
            if status is None:
                continue
            running.remove(rank)
            if status != 0:
                failed.append(rank)
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
        while passed_on < len(signals):
            for rank in running:
                ranks[rank].send_signal(signals[passed_on] if passed_on == 0 else signal.SIGKILL)
            passed_on += 1
        if time.monotonic() > deadline:
            _kill(ranks)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    if passed_on > 1:
        raise Interrupted(signals[0])
    if not failed:
        return 0
    causes = [rank for rank in failed if ranks[rank].returncode != EXIT_PEER_LOST]
    rank = (causes or failed)[0]
    status = ranks[rank].returncode
    if status > 0:  # the rank has said why
        return status
    name = signal.Signals(-status).name
    log.error("rank %d of %d was ended by %s; what it had saved is kept", rank, len(ranks), name)
    return 128 - status


def _kill(ranks: list[subprocess.Popen]) -> None:
    for rank in ranks:
        rank.kill()  # nothing happens to one that has ended
        rank.wait()

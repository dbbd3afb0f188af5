"""Start a stage as several processes (ranks) on this machine, and exit with their status.

The ranks find each other by the environment variables of torchrun, and torchrun can start them
instead. The launcher exists because torchrun kills ranks 30 s after a signal, then loses their
statuses, and reports an error once per rank and once more.
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

# EX_PROTOCOL of sysexits.h: the rank ended only because another one did.
EXIT_PEER_LOST = 76
# Ranks that wait for a failed one get this time to end; on a GPU they would wait forever.
GRACE_SECONDS = 10.0
_SECONDS_BETWEEN_LOOKS = 0.05
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launched_ranks() -> int:
    """Number of ranks that a launcher started together with this one; 1 without a launcher.

    A launcher sets all of its variables. A cluster or a job script may leave some of them set.
    """
    is_rank = all(name in os.environ for name in _RANK_VARIABLES)
    number = os.environ.get("WORLD_SIZE", "")
    return int(number) if is_rank and number.isdecimal() else 1


def launch(n_ranks: int) -> int:
    """Run this process's own command line as ``n_ranks`` processes until all have ended.

    SIGTERM and SIGINT are passed on; a second one kills the ranks. If a rank fails, the others are
    killed unless they end soon. If this process dies, the ranks end by themselves.

    Returns
    -------
    int
        Exit status: 0, or that of the first rank that failed (128 + the signal that killed it).

    Raises
    ------
    Interrupted
        If a second signal arrived.
    """
    listener, port = listen()
    store = serve(listener, port)
    signals: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        signals.append(signum)

    # The ranks inherit the mask, so no signal reaches them before their handlers are set.
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
    """A socket for the store at which the ranks meet, and its port.

    The socket accepts connections from this machine only, because the store trusts its clients.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


def serve(listener: socket.socket, port: int) -> TCPStore:
    """The store; it takes over the socket and lives as long as the returned object."""
    from torch.distributed import TCPStore  # imported late because it takes seconds

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
        # Then no host name must resolve, and an interface that a cluster names need not exist.
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    # Each rank has its own session, so that Ctrl-C reaches it only once, from here.
    command = [sys.executable, *sys.orig_argv[1:]]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _wait(ranks: list[subprocess.Popen], signals: list[int]) -> int:
    """Wait until all ranks have ended, pass signals on, and return the exit status."""
    failed: list[int] = []  # ranks, in the order of discovery
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
    if status > 0:  # the rank has reported the reason
        return status
    name = signal.Signals(-status).name
    log.error("rank %d of %d was ended by %s; its saved state is kept", rank, len(ranks), name)
    return 128 - status


def _kill(ranks: list[subprocess.Popen]) -> None:
    for rank in ranks:
        rank.kill()  # has no effect on a rank that has ended
        rank.wait()

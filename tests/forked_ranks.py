"""Several ranks as forks of the test process, which start fast because torch is imported."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch._dynamo
from gcdflow.distributed.interruption import Ended
from gcdflow.distributed.launcher import listen, serve
from gcdflow.errors import InputError


def run_as_ranks(n: int, function: Callable, *arguments: object, errors: Path | None = None):
    """Call a function in ``n`` processes that find each other like launched ranks.

    An error ends a rank with the same status and sentence as a stage.

    Parameters
    ----------
    errors : Path, optional
        File to which the sentences are appended.

    Returns
    -------
    list of int
        Exit statuses; negative for a signal.
    """
    listener, port = listen()
    context = multiprocessing.get_context("fork")
    ranks = [
        context.Process(target=_rank, args=(r, n, port, errors, function, arguments))
        for r in range(n)
    ]
    for rank in ranks:
        rank.start()
    # Fork before serving: locks of the store's thread would stay
    # locked forever in a rank that is forked later.
    store = serve(listener, port)
    for rank in ranks:
        rank.join(60)
        rank.kill()
        rank.join()
    del store  # the ranks needed it until here
    return [rank.exitcode for rank in ranks]


def _rank(
    rank: int, n: int, port: int, errors: Path | None, function: Callable, arguments: tuple
) -> None:
    torch.set_num_threads(1)  # a fork cannot use the threads of its parent
    os.environ |= {
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        **{"TORCHELASTIC_USE_AGENT_STORE": "True", "GLOO_SOCKET_IFNAME": "lo"},
    }
    try:
        function(*arguments)
    except (InputError, Ended) as error:
        if errors is not None:
            with open(errors, "a", encoding="utf-8") as file:
                file.write(f"{error}\n")
        sys.exit(error.status)

"""A process that has imported the packages of the stages, and forks for each: imports take seconds.

Its argument is the folder of its socket. Each connection is a call of `pass_on.py`: arguments,
environment, folder and open files of a stage; the answer is the exit status. The code of the
workflow itself is imported by each stage, as ever. This process ends with its standard input.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import marshal
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path

import fork_ends

# What is not here, a stage imports itself.
PACKAGES = (
    *("jinja2", "numba", "PIL.Image", "pydantic", "yaml"),
    *("matplotlib.backends.backend_agg", "matplotlib.figure", "scipy.stats"),
    *("sklearn.cluster", "sklearn.metrics", "sklearn.mixture", "sklearn.neighbors"),
    *("safetensors.torch", "tensorboard.compat.proto.event_pb2", "threadpoolctl"),
    *("timm", "torch", "torchvision.transforms.v2"),
)
# What packages read when they are imported. No threads, because a fork has none of them.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "MPLBACKEND": "agg",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",
    "TORCHINDUCTOR_CACHE_DIR": os.sep,
}


def run_stage(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Do what `python` with these arguments does in a process of its own."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.orig_argv = arguments, [sys.executable, *arguments]
    sys.path[0] = os.path.dirname(arguments[0])
    # Snakemake gives each job a number of threads, which packages read when they are imported.
    threads = int(environment["OMP_NUM_THREADS"])
    sys.modules["torch"].set_num_threads(threads)
    sys.modules["threadpoolctl"].threadpool_limits(threads)
    runpy.run_path(arguments[0], run_name="__main__")


def begin(connection: socket.socket, others: list[socket.socket]) -> int:
    """Receive a call, start its stage in a process without other sockets; return its number."""
    _, files, *_ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as received:
        call = marshal.loads(received.read())
    stage = os.fork()
    if stage == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        for each in (connection, *others):
            each.close()
        with fork_ends.noted_status():
            run_stage(*call)
        sys.exit()
    for file in files:
        os.close(file)
    return stage


def main(folder: Path) -> None:
    """Answer calls, each in a process of its own."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "socket"))
    server.listen()
    print("listening", flush=True)  # calls wait for the imports
    for package in PACKAGES:
        importlib.import_module(package)
    gc.freeze()  # else the first collection of each stage would copy all memory
    ended, ends = socket.socketpair()
    ends.setblocking(False)
    signal.set_wakeup_fd(ends.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake this up
    running: dict[int, socket.socket] = {}
    while True:
        ready, *_ = select.select([server, ended, sys.stdin], [], [])
        if sys.stdin in ready:
            break
        if ended in ready:
            ended.recv(1000)
            for stage in list(running):
                pid, status = os.waitpid(stage, os.WNOHANG)
                if pid:
                    # Snakemake may have been stopped, and with it the one that waits for this.
                    with running.pop(stage) as connection, contextlib.suppress(OSError):
                        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        if server in ready:
            connection, _ = server.accept()
            stage = begin(connection, [server, ended, ends, *running.values()])
            running[stage] = connection


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A process that has imported Snakemake, and forks for each call: an import takes two seconds.

It has also read what Snakemake's plugins add to the command line, and imported the packages that
the rules need. The code of the workflow itself is imported by each call.

Each line of standard input is a call as JSON; its exit status is printed when it has ended.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

import fork_ends
from snakemake.cli import get_argument_parser, main

PACKAGES = ("numpy", "PIL.Image", "pydantic", "smart_open")


def call(arguments: list[str], environment: dict[str, str], folder: str, output: list[str]) -> None:
    """Do what `python -m snakemake` does in a process of its own."""
    for descriptor, path in enumerate((os.devnull, *output)):
        flags = os.O_WRONLY if descriptor else os.O_RDONLY
        os.dup2(os.open(path, flags), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0], sys.argv = folder, ["snakemake", *arguments]
    main()


if __name__ == "__main__":
    get_argument_parser()  # looks for plugins in all packages, and keeps what it finds
    for package in PACKAGES:
        importlib.import_module(package)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            with fork_ends.noted_status():
                call(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

"""What the stages' command lines have in common: errors, logging, ranges."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from gcdflow import surroundings
from gcdflow.distributed.interruption import Ended, end_on_signals, end_with_workflow, kill_helpers
from gcdflow.errors import InputError, StageError, machine_error, one_line
from gcdflow.files.records import recorded

if TYPE_CHECKING:
    from gcdflow.config.settings import RunSettings, Settings

# What needs a package is imported where it is used: this is the first that a stage imports, and
# lets it say so where packages are missing.
surroundings.watch_imports()

DEFAULT_CONFIG = Path(__file__).resolve().parents[2] / "config" / "config.yaml"

EXIT_UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h

S = TypeVar("S", bound="Settings")


def run_stage(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parse the command line, run ``main``, and turn a :class:`StageError` into one sentence.

    Progress and results go to standard error through :mod:`logging`, one line each. A signal that
    asks the process to end gives a status of its own (see
    :mod:`gcdflow.distributed.interruption`). However ``main`` ends, this process ends, and no
    process that works for it is left.
    """
    surroundings.settle()
    end_on_signals()
    end_with_workflow()
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    try:
        with recorded():
            main(arguments)
    except Ended as end:
        print(f"{parser.prog}: {end}", file=sys.stderr)
        sys.exit(end.status)
    except Exception as error:
        known = error if isinstance(error, StageError) else machine_error(error)
        if isinstance(error, ImportError):
            said = surroundings.foreign_interpreter(error)
            known = InputError(said) if said else known
        if known is None:
            _end_unexpectedly(parser.prog, error)
        print(f"{parser.prog}: error: {known}", file=sys.stderr)
        sys.exit(known.status)
    finally:
        kill_helpers()


def _end_unexpectedly(prog: str, error: Exception) -> NoReturn:
    """Show the traceback of a bug, and end at once.

    The frames of the traceback hold loaders, communicators and GPUs. At exit Python would wait for
    what they keep alive, some of it for ever.
    """
    traceback.print_exception(error)
    kind = type(error).__name__
    print(f"{prog}: error: {kind}: {one_line(str(error))} (unexpected)", file=sys.stderr)
    kill_helpers()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(EXIT_UNEXPECTED)


def stage_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help shows defaults and keeps the description's line breaks."""

    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        def _get_help_string(self, action: argparse.Action) -> str | None:
            # Where the default is None, the help says in words what that means.
            return action.help if action.default is None else super()._get_help_string(action)

    parser = argparse.ArgumentParser(
        description=description, formatter_class=Formatter, allow_abbrev=False
    )
    # For all arguments of `type=Path`: the shell leaves the ~ of `--output=~/x` to us.
    parser.register("type", Path, lambda text: Path(os.path.expanduser(text)))
    return parser


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two ways to give a stage its settings: a run's name, or JSON (as the rules do)."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--run", help="run of the configuration whose settings to use")
    group.add_argument("--settings", metavar="JSON", help="the settings themselves, as JSON text")
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        help="configuration that --run refers to",
    )


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the stages that run a network take: the device and its helpers."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    parser.add_argument(
        "--threads", type=whole_number(1), help="CPU threads (default: PyTorch's choice)"
    )
    parser.add_argument(
        "--num-workers",
        type=lambda text: None if text == "auto" else whole_number(0)(text),
        help="image-loading processes (auto, the default: one a thread, none for small images in "
        "memory)",
    )


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    """Add where the backbone's weight file is."""
    parser.add_argument(
        "--weights",
        type=Path,
        help="safetensors file of the backbone, where the run names a file (not where it says "
        "pretrained or random); what counts is its SHA-256",
    )


def read_settings(
    arguments: argparse.Namespace, model: type[S], part: Callable[[RunSettings], S]
) -> S:
    """The settings that :func:`add_settings_arguments` asked for.

    Parameters
    ----------
    part : callable
        Takes what the stage needs from the settings of a whole run.
    """
    from gcdflow.config.runs import find_run, load_runs, validated

    if arguments.run is not None:
        return part(find_run(load_runs(arguments.config), arguments.run))
    try:
        values = json.loads(arguments.settings)
    except json.JSONDecodeError as error:
        raise InputError(f"--settings: not JSON text ({error})") from None
    return validated(model, values, "--settings")


def available_threads() -> int:
    """Processors that this process may use (obeys affinity masks and cgroup cpusets)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def show(text: str) -> None:
    """Print on standard output, which nobody may be reading any more.

    Raises
    ------
    InputError
        If it cannot be written for another reason.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # Python would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"standard output: cannot be written ({error.strerror})") from None


def whole_number(lowest: int) -> Callable[[str], int]:
    """Parser of a whole number from ``lowest``, for a command line."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest}")
        return int(text)

    return parse


def integer_range(text: str) -> list[int]:
    """:func:`~gcdflow.config.ranges.parse_range` for a command line."""
    from gcdflow.config.ranges import parse_range

    try:
        return parse_range(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None

"""Helpers for the command lines of all stages: errors, logging, arguments."""

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
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from gcdflow import surroundings
from gcdflow.distributed.interruption import Ended, end_on_signals, end_with_workflow, kill_helpers
from gcdflow.errors import InputError, StageError, machine_error, one_line
from gcdflow.files.records import recorded
from gcdflow.surroundings import available_threads as available_threads

if TYPE_CHECKING:
    from gcdflow.config.settings import ClusteringSettings, RunSettings, Settings

# Every stage imports this module first. It needs no package, so it can report a missing one;
# functions import packages where they use them.
surroundings.watch_imports()

DEFAULT_CONFIG = Path(__file__).resolve().parents[2] / "config" / "config.yaml"

EXIT_UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h

S = TypeVar("S", bound="Settings")


def run_stage(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parse the command line, run ``main``, and turn a :class:`StageError` into one sentence.

    Progress and results go to standard error through :mod:`logging`, one line each. A process that
    a signal ends exits with a special status (see :mod:`gcdflow.distributed.interruption`). When
    ``main`` ends, this function kills all helper processes.
    """
    surroundings.settle()
    end_on_signals()
    end_with_workflow()
    arguments = parser.parse_args()
    _start_log()
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


class _OneLine(logging.Formatter):
    """A line for each record: its time, a mark if it warns, and no control characters."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        mark = "warning: " if record.levelno == logging.WARNING else ""
        record.message = one_line(mark + record.message)
        return super().formatMessage(record)


def _start_log() -> None:
    """Log to standard error; of libraries, only what they warn of.

    Their news (such as timm's ``Resized position embedding``) say nothing to a user.
    """

    def is_shown(record: logging.LogRecord) -> bool:
        own = record.name == "root" or record.name.partition(".")[0] == "gcdflow"
        return own or record.levelno >= logging.WARNING

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(is_shown)
    handler.setFormatter(_OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _end_unexpectedly(prog: str, error: Exception) -> NoReturn:
    """Print the traceback of a bug and exit at once.

    The frames of the traceback hold loaders, communicators and GPUs. A normal exit of Python would
    wait for them, sometimes forever.
    """
    traceback.print_exception(error)
    kind = type(error).__name__
    print(f"{prog}: error: {kind}: {one_line(str(error))} (unexpected)", file=sys.stderr)
    kill_helpers()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(EXIT_UNEXPECTED)


def stage_parser(description: str, *flags: str) -> argparse.ArgumentParser:
    """A parser whose help shows defaults and keeps the description's line breaks.

    Parameters
    ----------
    flags : names of arguments that several stages take, out of ``_SHARED``
    """

    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        def _get_help_string(self, action: argparse.Action) -> str | None:
            # Help texts themselves explain defaults of None, 0 and False, empty ones, and those
            # that differ from machine to machine.
            explains = not action.default or "(default" in (action.help or "")
            return action.help if explains else super()._get_help_string(action)

    parser = argparse.ArgumentParser(
        description=description, formatter_class=Formatter, allow_abbrev=False
    )
    # The shell does not expand the ~ of `--output=~/x`, so arguments of `type=Path` do.
    parser.register("type", Path, lambda text: Path(os.path.expanduser(text)))
    for flag in flags:
        parser.add_argument(f"--{flag}", **_SHARED[flag])
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
    """Add the arguments of stages that run a network: device, threads, loading processes."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    parser.add_argument(
        "--threads",
        type=whole_number(1),
        help="CPU threads (default: all available, or PyTorch's choice)",
    )
    parser.add_argument(
        "--num-workers",
        type=lambda text: None if text == "auto" else whole_number(0)(text),
        help="image-loading processes (auto, the default: one per thread, none for small images in "
        "memory)",
    )


def add_grid_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of stages that search for a clustering: its grid and its score."""
    from gcdflow.config.settings import ClusteringSettings

    defaults = ClusteringSettings()
    parser.add_argument(
        "--k",
        default=defaults.k,
        help="numbers of neighbours: first:last[:step], ends included, or a comma list",
    )
    parser.add_argument(
        "--percentile",
        default=defaults.percentile,
        help="density percentiles, in the same form",
    )
    parser.add_argument("--no-normalize", action="store_true", help="do not normalise the features")
    parser.add_argument(
        "--w-ce", type=float, default=defaults.w_ce, help="weight of cross-entropy in the score"
    )
    parser.add_argument(
        "--w-sil", type=float, default=defaults.w_sil, help="weight of the silhouette in the score"
    )
    parser.add_argument(
        "--w-mod",
        type=float,
        default=0.0,
        help="weight of the modularity in the score (0 if not given; runs have 3)",
    )
    parser.add_argument(
        "--merge-by-class",
        action="store_true",
        help="merge clusters of one old class, as the workflow does",
    )
    parser.add_argument(
        "--neighbours",
        choices=["exact", "approximate"],
        help="exact or approximate neighbours (default: exact, unless that would take hours)",
    )


def grid_of(arguments: argparse.Namespace) -> ClusteringSettings:
    """What the arguments of :func:`add_grid_arguments` say is searched.

    Raises
    ------
    InputError
        If a range or a weight is not valid.
    """
    from gcdflow.config.runs import validated
    from gcdflow.config.settings import ClusteringSettings

    names = ("k", "percentile", "w_ce", "w_sil", "w_mod", "neighbours", "merge_by_class")
    values = {name: getattr(arguments, name) for name in names}
    return validated(
        ClusteringSettings, values | {"normalize": not arguments.no_normalize}, "the grid"
    )


def read_settings(
    arguments: argparse.Namespace, model: type[S], part: Callable[[RunSettings], S]
) -> S:
    """The settings given by the arguments of :func:`add_settings_arguments`.

    Parameters
    ----------
    part : callable
        Selects the settings that the stage needs from those of a whole run.
    """
    from gcdflow.config.runs import find_run, load_runs

    if arguments.run is not None:
        return part(find_run(load_runs(arguments.config), arguments.run))
    return settings_of_text(arguments.settings, model, "--settings")


def settings_of_text(text: str, model: type[S], option: str) -> S:
    """Settings that an option gives as JSON text (InputError)."""
    from gcdflow.config.runs import validated

    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{option}: not JSON text ({error})") from None
    return validated(model, values, option)


def show(text: str) -> None:
    """Print on standard output; a reader that has closed the pipe is no error.

    Raises
    ------
    InputError
        If writing fails for another reason.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # At exit, Python would try to write again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"standard output: cannot be written ({error.strerror})") from None


def whole_number(lowest: int) -> Callable[[str], int]:
    """An argument type for :mod:`argparse`: a whole number, ``lowest`` or more."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest}")
        return int(text)

    return parse


_SHARED: dict[str, dict[str, Any]] = {
    "split": {"type": Path, "required": True, "help": "split.npz of the run"},
    "features": {"type": Path, "required": True, "help": "features_epoch*.npz"},
    "assignments": {"type": Path, "required": True, "help": "the run's assignments.csv"},
    "pseudo-labels": {"type": Path, "required": True, "help": "pseudo labels of the same epoch"},
    "log-dir": {"type": Path, "help": "directory of TensorBoard event files"},
    "threads": {
        "type": whole_number(1),
        "default": available_threads(),
        "help": "CPU threads (default: all available)",
    },
    "weights": {
        "type": Path,
        "help": "safetensors file of the backbone, if the run names a file of its own",
    },
    "result-version": {
        "type": whole_number(0),
        "default": 0,
        "help": "resume only from what a call with the same number left (default: 0)",
    },
}

"""What the stages' command lines have in common: errors, logging, ranges."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gcdflow.config import find_run, load_runs, validated
from gcdflow.errors import InputError
from gcdflow.interruption import Ended, end_on_signals, end_with_workflow
from gcdflow.ranges import parse_range
from gcdflow.records import recorded
from gcdflow.settings import ClusteringSettings, RunSettings, Settings

if TYPE_CHECKING:
    from gcdflow.clustering import Grid
    from gcdflow.formats import Features

DEFAULT_CONFIG = Path(__file__).resolve().parents[2] / "config" / "config.yaml"

S = TypeVar("S", bound=Settings)


def run_stage(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parse the command line, run ``main``, and turn an :class:`InputError` into one sentence.

    Progress and results go to standard error through :mod:`logging`, one line each. A signal that
    asks the process to end gives a status of its own (see :mod:`gcdflow.interruption`).
    """
    end_on_signals()
    end_with_workflow()
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    try:
        with recorded():
            main(arguments)
    except InputError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except Ended as end:
        print(f"{parser.prog}: {end}", file=sys.stderr)
        sys.exit(end.status)


def stage_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help shows defaults and keeps the description's line breaks."""

    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        def _get_help_string(self, action: argparse.Action) -> str | None:
            # Where the default is None, the help says in words what that means.
            return action.help if action.default is None else super()._get_help_string(action)

    return argparse.ArgumentParser(
        description=description, formatter_class=Formatter, allow_abbrev=False
    )


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two ways to give a stage its settings: a run's name, or JSON (as the rules do)."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--run", help="run of the configuration whose settings to use")
    group.add_argument("--settings", metavar="JSON", help="the settings themselves, as JSON text")
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, help="configuration that --run refers to"
    )


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the stages that run a network take: the device and its helpers."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    parser.add_argument(
        "--threads", type=whole_number(1), help="CPU threads (default: PyTorch's choice)"
    )
    parser.add_argument(
        "--num-workers",
        type=whole_number(0),
        help="image-loading processes (default: one a thread, none for small images in memory)",
    )


def add_clustering_arguments(parser: argparse.ArgumentParser, *, shard: bool = False) -> None:
    """Add what all steps of a clustering take: features, labels and the grid (and its shard)."""
    defaults = ClusteringSettings()
    parser.add_argument(
        "--features", type=Path, required=True, help="features to cluster (.npz, .npy)"
    )
    parser.add_argument(
        "--labels", type=Path, help="labels.npz that replaces the labels of the features"
    )
    parser.add_argument(
        "--k",
        type=integer_range,
        default=defaults.k,
        help="numbers of neighbours: first:last[:step], ends included, or a comma list",
    )
    parser.add_argument(
        "--percentile",
        type=integer_range,
        default=defaults.percentile,
        help="density percentiles: the same",
    )
    parser.add_argument("--no-normalize", action="store_true", help="take the features as they are")
    parser.add_argument(
        "--threads", type=whole_number(1), help="CPU threads (default: all available)"
    )
    if shard:
        parser.add_argument(
            "--shard",
            type=shard_of_shards,
            required=True,
            help="which shard of how many, such as 2/4",
        )


def clustering_inputs(arguments: argparse.Namespace) -> tuple[Features, Grid, int]:
    """The features, grid and threads that :func:`add_clustering_arguments` asked for."""
    from gcdflow.clustering import Grid
    from gcdflow.formats import load_features

    features = load_features(arguments.features, arguments.labels)
    grid = Grid(arguments.k, arguments.percentile, normalize=not arguments.no_normalize)
    return features, grid, arguments.threads or available_threads()


def read_settings(
    arguments: argparse.Namespace, model: type[S], part: Callable[[RunSettings], S]
) -> S:
    """The settings that :func:`add_settings_arguments` asked for.

    Parameters
    ----------
    part : callable
        Takes what the stage needs from the settings of a whole run.
    """
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


def whole_number(lowest: int) -> Callable[[str], int]:
    """Parser of a whole number from ``lowest``, for a command line."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest}")
        return int(text)

    return parse


def shard_of_shards(text: str) -> tuple[int, int]:
    """Parser of a shard's number and the number of shards, ``2/4``, for a command line."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard such as 2/4, from 1/4 to 4/4")
    return int(match[1]), int(match[2])


def integer_range(text: str) -> list[int]:
    """:func:`~gcdflow.ranges.parse_range` for a command line."""
    try:
        return parse_range(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None

#!/usr/bin/env python
"""Feed broken files to every reader: it gives a valid value, or says in one sentence what is wrong.

Each input is a valid file that was mutated: cut off, overwritten, with blocks inserted or doubled,
or rebuilt with right checksums and wrong content. A reader fails if it raises anything but
InputError, says more than one line or does not name the file, writes to standard error, takes
longer than some seconds or too much memory (1 GiB, for images 4 GiB), crashes, or accepts what is
not valid.

Inputs are numbered, and depend on the seed and their number alone:

    python benchmarks/fuzz.py --inputs 100000 --seed 0
    python benchmarks/fuzz.py --reader "npz Split" --first 123 --inputs 1 --keep /tmp/failures
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

import torch
from fuzz_datasets import dataset_targets
from fuzz_targets import Target, file_targets
from gcdflow.errors import InputError

_SECONDS = 20.0  # of computing, for one input; an image of 200 million pixels takes a few


class _TooSlow(BaseException):
    """Not an Exception, so that no reader catches it."""


def _problem_of_call(target: Target, path: Path) -> tuple[str, str | None]:
    """``accepted``, ``refused`` or ``failed``, and what is wrong."""
    try:
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)
        try:
            value = target.read(path)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except InputError as error:
        return _judged(str(error), None if target.lazy else error, path)
    except _TooSlow:
        return "failed", f"takes more than {_SECONDS:g} s\n{traceback.format_exc()}"
    except BaseException:
        return "failed", traceback.format_exc()
    try:
        target.check(path, value)
    except BaseException:
        return "failed", f"accepted, but not valid:\n{traceback.format_exc()}"
    return "accepted", None


def _judged(message: str, error: BaseException | None, path: Path) -> tuple[str, str | None]:
    while error is not None:
        if isinstance(error, MemoryError):
            return "failed", f"tried to allocate more than it may: {message}"
        error = error.__context__
    if not message.isprintable():
        return "failed", f"says what is not one printable line: {message!r}"
    # What only several files of a dataset say together is said of the dataset.
    names = (str(path), *map(str, path.parents[:2]), "dataset")
    if len(message) > 2000 or not any(name in message for name in names):
        return "failed", f"does not name the file: {message!r}"
    return "refused", None


def _run(
    name: str, target: Target, folder: Path, foreign: list[bytes], numbers: range, seed: int, pipe
) -> None:
    """Try the inputs in this process, which may not survive it; results go into the pipe."""
    faulthandler.enable(open(folder / "crash.txt", "w"))  # noqa: SIM115
    errors = os.open(folder / "stderr.txt", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)

    def too_slow(*_: object) -> None:
        raise _TooSlow

    signal.signal(signal.SIGPROF, too_slow)
    _limit_memory(target.memory)
    path = folder / name / target.place
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for number in numbers:
        rng = random.Random(f"{seed} {name} {number}")
        path.write_bytes(target.input(rng, foreign))
        pipe.send((number, "begun", None))
        faulthandler.dump_traceback_later(15 * _SECONDS, exit=True, file=sys.__stderr__)
        said = os.fstat(errors).st_size
        outcome, problem = _problem_of_call(target, path)
        faulthandler.cancel_dump_traceback_later()
        size, now = os.fstat(errors).st_size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        text = os.pread(errors, size - said, said).decode(errors="replace")
        loud = [line for line in text.splitlines() if not line.startswith(target.quiet or "\0")]
        if outcome != "failed" and loud:
            outcome, problem = "failed", f"wrote to standard error: {text}"
        if outcome != "failed" and now * 1024 > peak + target.memory:
            outcome, problem = "failed", f"took {(now * 1024 - peak) / 2**20:.0f} MiB"
        peak = max(peak, now * 1024)
        pipe.send((number, outcome, problem))
    pipe.send((None, "done", None))


def _limit_memory(n_bytes: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + n_bytes, resource.RLIM_INFINITY))


def fuzz(
    name: str, target: Target, folder: Path, foreign: list[bytes], numbers: range, seed: int
) -> Iterator[tuple[int, str, str | None]]:
    """Number, outcome and problem of each input; a process that dies is replaced."""
    context = multiprocessing.get_context("fork")
    while len(numbers):
        ours, theirs = context.Pipe(duplex=False)
        arguments = (name, target, folder, foreign, numbers, seed, theirs)
        process = context.Process(target=_run, args=arguments)
        process.start()
        theirs.close()
        current = numbers[0]
        try:
            while True:
                number, outcome, problem = ours.recv()
                if outcome == "done":
                    process.join()
                    return
                current = number
                if outcome != "begun":
                    yield number, outcome, problem
        except EOFError:
            process.join()
            crash = (folder / "crash.txt").read_text() + (folder / "stderr.txt").read_text()
            yield current, "failed", f"the process ended with {process.exitcode}: {crash[:3000]}"
            numbers = range(current + 1, numbers.stop)


def main(arguments: argparse.Namespace) -> int:
    """Fuzz, print the table and the first failures; the number of failures."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        targets = file_targets(folder) | dataset_targets(folder)
        for name, target in targets.items():
            (folder / name / target.place).parent.mkdir(parents=True, exist_ok=True)
        _check_seeds(folder, targets)
        foreign = [target.seeds[0] for target in targets.values()]
        if arguments.reader:
            targets = {name: targets[name] for name in arguments.reader}
        whole = sum(target.weight for target in targets.values())
        results, failures = {}, []
        print("| reader | inputs | accepted | refused | failures | seconds |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for name, target in targets.items():
            n = max(1, round(arguments.inputs * target.weight / whole))
            numbers = range(arguments.first, arguments.first + n)
            counts, began = Counter(accepted=0, refused=0, failed=0), time.monotonic()
            for number, outcome, problem in fuzz(
                name, target, folder, foreign, numbers, arguments.seed
            ):
                counts[outcome] += 1
                if outcome == "failed":
                    failures.append((name, number, problem))
                    _keep(arguments.keep, name, number, target, foreign, arguments.seed)
            results[name] = counts
            counts["seconds"] = time.monotonic() - began
            _print_row(name, counts)
    _print_row("all", sum(results.values(), Counter()))
    for name, number, problem in failures[:30]:
        print(f"\n{name}, input {number}:\n{problem}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"counts": results, "failures": failures}))
    return len(failures)


def _check_seeds(folder: Path, targets: dict[str, Target]) -> None:
    """Files that nobody touched must be valid, or the campaign would say nothing."""
    for name, target in targets.items():
        path = folder / name / target.place
        for seed in target.seeds:
            path.write_bytes(seed)
            target.check(path, target.read(path))


def _keep(
    folder: Path | None, name: str, number: int, target: Target, foreign: list[bytes], seed: int
) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        content = target.input(random.Random(f"{seed} {name} {number}"), foreign)
        (folder / f"{name.replace(' ', '-')}-{seed}-{number}").write_bytes(content)


def _print_row(name: str, c: Counter) -> None:
    inputs = c["accepted"] + c["refused"] + c["failed"]
    cells = f"{inputs} | {c['accepted']} | {c['refused']} | {c['failed']} | {c['seconds']:.1f}"
    print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", help="only this reader (may be repeated)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that failed")
    parser.add_argument("--json", type=Path, help="file for the counts")
    sys.exit(1 if main(parser.parse_args()) else 0)

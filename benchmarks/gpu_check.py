#!/usr/bin/env python
"""Check a machine's GPU (docs/gpu.md), and write a Markdown table.

Each part is a process with a time limit; one that fails or has no time left is a row that says so.

    python benchmarks/gpu_check.py --output gpu.md [--budget 540]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from gcdflow.cli import available_threads
from training_workplace import MODELS, Workplace, table

ROOT = Path(__file__).resolve().parents[1]
_LEAST_SECONDS = 10  # that are worth to start a part with
_MOST_THREADS = 8


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes
    ----------
    name : str, of a function of gpu_parts.py, or ``tests``
    model : str
    limit : float, seconds
    """

    name: str
    model: str
    limit: float


def parts_of(models: list[str]) -> list[Part]:
    """All parts, what matters most first."""
    first, *others = models
    return [
        Part("tests", "small ones", 150),
        Part("losses", first, 60),
        Part("waits", first, 60),
        Part("clustering", "SSDDBC", 60),
        Part("speed", first, 90),
        *(Part("speed", model, 90) for model in others),
        Part("modes", first, 90),
        Part("resume", others[0] if others else first, 60),
    ]


def command_of(part: Part, work: Workplace) -> list[str]:
    """The command line of a part."""
    if part.name == "tests":
        command = [*(sys.executable, "-m", "pytest", "tests/gpu", "-q", "-rfE", "--tb=line")]
        return [*command, "-p", "no:cacheprovider", "--color=no"]
    return [
        *(sys.executable, str(ROOT / "benchmarks" / "gpu_parts.py"), part.name, part.model),
        json.dumps(vars(work), default=str),
    ]


def run_part(part: Part, work: Workplace, seconds: float) -> list[list[str]]:
    """Rows of a part, which is killed with all that it started when its time is over."""
    paths = [str(ROOT / "workflow_scripts"), str(ROOT / "tests")]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    environment = {
        **os.environ,
        **{"GCDFLOW_GPU_TESTS": work.device.type, "PYTHONPATH": os.pathsep.join(paths)},
        "PYTHONUNBUFFERED": "1",  # what a part has printed before it is stopped is not lost
    }
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command_of(part, work),
            **{"cwd": ROOT, "env": environment, "stdout": output, "stderr": errors},
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
            failure = "" if status == 0 else f"FAILED with status {status}"
        except subprocess.TimeoutExpired:
            failure = f"STOPPED after {seconds:.0f} s"
        finally:
            kill_group(process)
        output.seek(0)
        errors.seek(0)
        lines, complaints = output.read().splitlines(), errors.read().strip().splitlines()
    if part.name == "tests":
        rows = tested(lines)
    else:
        rows = [[part.model, *json.loads(line)] for line in lines if line.startswith("[")]
    if failure:
        reason = f": {complaints[-1]}" if complaints else ""
        rows.append([part.model, part.name, f"{failure}{reason}".replace("|", "/")])
    print(f"{part.name}, {part.model}: {time.monotonic() - began:.0f} s {failure}", file=sys.stderr)
    return rows


def kill_group(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def clean(work: Workplace) -> None:
    """Delete what a part has left beside the pictures."""
    for path in work.folder.iterdir():
        if path.is_dir() and path.name != "pictures":
            shutil.rmtree(path)
        elif path.is_file() and path != work.split:
            path.unlink()


def tested(lines: list[str]) -> list[list[str]]:
    """Rows of what pytest printed: how many passed, and each that did not.

    Its last line says how many. Where it was stopped before, its marks do, but for those in lines
    that something else has written in.
    """
    ends = (re.fullmatch(r"(\d+ .+) in [\d.]+s.*", line) for line in lines)
    whole = [match[1] for match in ends if match]
    found = (re.fullmatch(r"([.FEsx]+)\s*(\[.*\])?", line) for line in lines)
    marks = "".join(match[1] for match in found if match)
    names = {".": "passed", "F": "FAILED", "E": "ERRORS", "s": "skipped"}
    seen = [f"{marks.count(mark)} {name}" for mark, name in names.items() if mark in marks]
    counts = whole[-1] if whole else ", ".join(seen)
    broken = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return [
        ["small ones", "tests that need a GPU", counts or "none ran"],
        *(["small ones", "test", line.replace("|", "/")] for line in broken),
    ]


def machine(device: torch.device) -> list[str]:
    """What the numbers were measured on."""
    lines = [
        f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN "
        f"{torch.backends.cudnn.version()}; {available_threads()} CPU threads; "
        f"{datetime.date.today()}; commit {said('git', '-C', ROOT, 'rev-parse', '--short', 'HEAD')}"
    ]
    if device.type == "cpu":
        return [
            "**no GPU**: a small form on the CPU, which only shows that the check works",
            *lines,
        ]
    # Not PyTorch, which would occupy a card that may be for one process alone.
    card = said(
        "nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"
    )
    if card == "unknown":
        card = torch.cuda.get_device_name(device)
    return [f"**{'; '.join(card.splitlines())}** (card, memory, driver)", *lines]


def said(*command: object) -> str:
    """The output of a command, or that it is unknown."""
    try:
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    except OSError:
        return "unknown"
    return result.stdout.strip() or "unknown"


def main() -> None:
    """Run the parts one after another; write the table after each, so that none is lost."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--budget", type=float, default=540, help="seconds for all of it")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--models", nargs="+", default=None, help="models of timm")
    parser.add_argument("--images", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--parts", nargs="+", help="only these")
    arguments = parser.parse_args()
    on_gpu = torch.cuda.is_available() if arguments.device == "auto" else arguments.device == "cuda"
    with tempfile.TemporaryDirectory() as name:
        work = Workplace(
            folder=Path(name),
            n_images=arguments.images or (1024 if on_gpu else 8),
            batch_size=arguments.batch_size or (128 if on_gpu else 4),
            n_views=4 if on_gpu else 2,
            threads=min(available_threads(), _MOST_THREADS) if on_gpu else 1,
            device=torch.device("cuda" if on_gpu else "cpu"),
            out_dim=65536 if on_gpu else 256,
        )
        work.write()
        head = [
            *machine(work.device),
            f"{work.n_images} JPEGs of about 500 × 375, batches of {work.batch_size}, "
            f"{work.threads} threads and loading processes on both sides, random weights",
        ]
        rows: list[list[str]] = []
        for part in parts_of(arguments.models or (list(MODELS) if on_gpu else ["test_vit"])):
            if arguments.parts and part.name not in arguments.parts:
                continue
            left = arguments.budget - (time.monotonic() - began)
            if left < _LEAST_SECONDS:
                rows.append([part.model, part.name, "LEFT OUT: no time is left"])
            else:
                rows += run_part(part, work, min(part.limit, left))
                clean(work)
            text = table(["model", "what", "found"], rows)
            arguments.output.write_text("\n\n".join([*head, text]) + "\n")
    print(arguments.output.read_text())


if __name__ == "__main__":
    main()

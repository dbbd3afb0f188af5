#!/usr/bin/env python
"""Images per second of training and of features beside the field's loop, in one run, in turns.

Both sides have the same number of threads and of loading processes, the same JPEGs of about 500 ×
375 pixels, models of timm with random weights, and batches of the same size. The baseline is
field_loop.py, ours is training_workplace.py. Starting (building the model, reading a checkpoint)
counts on neither side.

    python benchmarks/training_benchmark.py [--models vit_small_patch16_224] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from gcdflow.cli import available_threads
from gcdflow.distributed.device import resolve_device
from gcdflow.models.backbones import build_backbone
from training_workplace import MODELS, VIEWS, Workplace, line, table

GOALS = {"stored": 20.0, "fresh": 1.3, "features": 15.0}
NAMES = {
    "stored": "training step, stored views",
    "fresh": "training step, fresh views",
    "features": "features at a refresh, stored views",
}
MEMORY_GOAL = 2 * 2**30


def weight_bytes(work: Workplace, model: str) -> int:
    """Bytes of a model's weights."""
    backbone = build_backbone(work.settings(model, False).backbone, 224)
    return sum(tensor.nbytes for tensor in backbone.state_dict().values())


def measure(work: Workplace, model: str, n_steps: int, rounds: int) -> Iterator[list[str]]:
    """Rows of the table of a model: work, model, both speeds, ratio with its range, goal."""
    seconds = work.make_views(model)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for _ in range(rounds):
        field = work.field(model)
        step, plain = field.training_speed(n_steps), field.features_speed()
        del field
        for name, is_stored in VIEWS.items():
            found[name].append((step, work.training_speed(model, is_stored)))
        # The last checkpoint is that of the training from stored views.
        found["features"].append((plain, work.features_speed(is_stored=True)))
    for name, pairs in found.items():
        ratios = [ours / theirs for theirs, ours in pairs]
        theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if rounds > 1 else ""
        ratio = f"{statistics.median(ratios):.2f}{spread}"
        # Of other models less is frozen.
        goal = "" if name == "stored" and "vit" not in model else f"≥ {GOALS[name]:g}"
        yield [NAMES[name], model, f"{theirs:.2f}", f"{ours:.2f}", ratio, goal]
    goal = f"≤ {gib(MEMORY_GOAL + weight_bytes(work, model))}"
    for name, is_stored in VIEWS.items():
        peak = work.peak_memory(model, is_stored)
        yield [f"peak memory, {name} views", model, "", gib(peak), "", goal]
    size = work.views.stat().st_size
    text = f"{size / 1e6:.1f} MB, {size / work.n_images / 1e3:.0f} kB an image"
    yield [f"file of {work.n_views} views, made in {seconds:.0f} s", model, "", text, "", ""]
    work.views.unlink()


def gib(n: float) -> str:
    """A number of bytes."""
    return f"{n / 2**30:.2f} GiB"


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="models of timm")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--views", type=int, default=4, help="stored views of each image")
    parser.add_argument("--out-dim", type=int, default=65536, help="outputs of the head")
    parser.add_argument("--steps", type=int, default=2, help="steps of the field's loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Workplace(
            Path(name),
            arguments.images,
            arguments.batch_size,
            arguments.views,
            arguments.threads,
            resolve_device(arguments.device),
            arguments.out_dim,
        )
        work.write()
        print(
            f"{arguments.images} images, batches of {arguments.batch_size}, {arguments.threads} of "
            f"{available_threads()} threads, {arguments.device}, {arguments.rounds} rounds\n"
        )
        header = ["work", "model", "field's loop, images/s", "gcdflow, images/s", "ratio", "goal"]
        print(table(header, []))
        for model in arguments.models:
            for row in measure(work, model, arguments.steps, arguments.rounds):
                print(line(row), flush=True)


if __name__ == "__main__":
    main()

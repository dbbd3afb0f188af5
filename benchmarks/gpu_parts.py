#!/usr/bin/env python
"""The parts of gpu_check.py, each in a process of its own: its findings are lines of JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from gcdflow.files.atomic import canonical_json
from gcdflow.models.model import Model
from gcdflow.ssddbc import SSDDBCGridSearch
from gcdflow.training.objective import Objective
from ssddbc_benchmark import make_features, warm
from torch import Tensor
from training_workplace import VIEWS, Workplace, peak_bytes, run_stage
from watched_steps import watched_steps

ROOT = Path(__file__).resolve().parents[1]
Finding = tuple[str, str]  # what, and what was found
_LOSS_IMAGES = 16


def losses(work: Workplace, model: str) -> Iterator[Finding]:
    """Losses and gradients of a step on the CPU and on the device."""
    expected, gradients = _one_step(work, model, torch.device("cpu"))
    for name, exact in (("float32", True), ("as trained (TF32 convolutions)", False)):
        torch.backends.cudnn.allow_tf32 = not exact
        found, others = _one_step(work, model, work.device)
        largest = max(
            ((ours - theirs).norm() / theirs.norm().clamp(min=1e-12)).item()
            for ours, theirs in zip(others, gradients, strict=True)
        )
        yield (
            f"loss on the CPU and here, {name}",
            f"{expected:.6f}, {found:.6f}; gradients differ by {largest:.1e} at most",
        )


def _one_step(work: Workplace, model: str, device: torch.device) -> tuple[float, list[Tensor]]:
    chosen = work.settings(model, is_stored=False)
    torch.manual_seed(0)
    net = Model(chosen).to(device).train()
    generator = torch.Generator().manual_seed(1)
    shape = (2 * _LOSS_IMAGES, 3, 224, 224)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    labels = torch.arange(_LOSS_IMAGES) % 4 - 1
    z = net(images.to(device))
    found, _ = Objective(chosen, labels, None).losses(
        1, *z.chunk(2), torch.arange(_LOSS_IMAGES), None
    )
    found["L_total"].backward()
    return found["L_total"].item(), [
        p.grad.double().cpu() for p in net.parameters() if p.grad is not None
    ]


def waits(work: Workplace, model: str) -> Iterator[Finding]:
    """How often, and where, a step makes the host wait."""
    if work.device.type == "cpu":
        yield "host waits in a step", "none on a CPU"
        return
    work.make_views(model)
    for name, is_stored in VIEWS.items():
        with watched_steps() as found:
            work.train(work.settings(model, is_stored), 3)
        later = found[len(found) // 2 :]  # the first steps set libraries up
        places = Counter(place for step in later for place in step)
        listed = ", ".join(f"{place} {n / len(later):g} ×" for place, n in places.items())
        yield f"host waits in a step, {name} views", listed or "none"


def clustering(work: Workplace, model: str) -> Iterator[Finding]:
    """Seconds of an exact grid search on the CPU and on the device, and whether they agree."""
    on_gpu = work.device.type == "cuda"
    X, y = make_features(20_000 if on_gpu else 400, 768, 100 if on_gpu else 4)
    warm(work.threads)
    found = []
    for device in ("cpu", work.device.type):
        search = SSDDBCGridSearch(neighbours="exact", device=device, n_jobs=work.threads)
        began = time.perf_counter()
        found.append(search.fit(X, y))
        seconds = time.perf_counter() - began
        yield (
            f"clustering of {len(X)} × 768 by {device}, {work.threads} threads",
            f"{seconds:.1f} s",
        )
    one, other = found
    equal = "equal" if (one.labels_ == other.labels_).all() else "DIFFERENT"
    largest = abs(one.results_["silhouette"] - other.results_["silhouette"]).max()
    yield "clusters of both", f"{equal}; silhouettes differ by {largest:.1e} at most"


def modes(work: Workplace, model: str) -> Iterator[Finding]:
    """What bfloat16 and deterministic mode cost or save, and whether bytes are equal."""
    work.make_views(model)
    for name, is_stored in VIEWS.items():
        plain = work.training_speed(model, is_stored)
        mixed = work.training_speed(model, is_stored, mixed_precision=True)
        yield (
            f"bfloat16, {name} views",
            f"{mixed:.1f} images/s, {mixed / plain:.2f} × of float32",
        )
    plain = work.training_speed(model, is_stored=True)
    slower, digests = 0.0, set()
    for _ in range(2):
        slower = work.training_speed(model, is_stored=True, deterministic=True)
        digests.add(hashlib.sha256(work.checkpoint.read_bytes()).hexdigest())
    yield (
        "deterministic mode, stored views",
        f"{slower:.1f} images/s, {slower / plain:.2f} × of the plain one; two trainings end in "
        f"{'equal bytes' if len(digests) == 1 else 'DIFFERENT BYTES'}",
    )


def speed(work: Workplace, model: str) -> Iterator[Finding]:
    """Images per second beside the field's loop, memory, utilisation."""
    seconds = work.make_views(model)
    size = work.views.stat().st_size / work.n_images
    yield (
        f"making {work.n_views} views",
        f"{work.n_images * (work.n_views + 1) / seconds:.1f} views/s with start, "
        f"{size / 1e3:.0f} kB an image",
    )
    ours: dict[str, float] = {}
    features: dict[str, float] = {}
    for name, is_stored in VIEWS.items():
        if work.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with utilisation(work.device) as busy:
            ours[name] = work.training_speed(model, is_stored)
        parts = [f"{ours[name]:.1f} images/s"]
        if work.device.type == "cuda":
            parts.append(f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB of its memory")
            parts.append(f"busy {busy[0]}, start included" if busy else "utilisation unknown")
        yield f"training, {name} views", "; ".join(parts)
        features[name] = work.features_speed(is_stored)
        yield f"features, {name} views", f"{features[name]:.1f} images/s"
    yield "peak memory of the process in all of this", f"{peak_bytes() / 2**30:.2f} GiB"
    field = work.field(model)
    with utilisation(work.device) as busy:
        step = field.training_speed(4)
    yield (
        "the field's loop, training",
        f"{step:.1f} images/s" + (f"; busy {busy[0]}" if busy else ""),
    )
    passed = field.features_speed()
    yield "the field's loop, features", f"{passed:.1f} images/s"
    yield (
        "ours over the field's",
        f"training: stored {ours['stored'] / step:.1f} ×, fresh {ours['fresh'] / step:.2f} ×; "
        f"features: stored {features['stored'] / passed:.1f} ×, from images "
        f"{features['fresh'] / passed:.2f} ×",
    )


def resume(work: Workplace, model: str) -> Iterator[Finding]:
    """How long a resumed training takes until it trains."""
    work.make_views(model)
    chosen = work.settings(model, is_stored=True)
    (first,) = work.train(chosen, 1)
    began = time.perf_counter()
    run_stage(
        "train",
        *("--settings", canonical_json(chosen.model_dump()), "--split", work.split),
        *("--views", work.views, "--resume-from-ckpt", work.checkpoint),
        *("--output", work.folder / "resumed.pt", "--stop-at-epoch", 2),
        *("--device", work.device, "--threads", work.threads),
    )
    seconds = time.perf_counter() - began
    yield (
        "a resumed training of one epoch, as a process",
        f"{seconds:.1f} s, of which {work.n_steps * work.batch_size / first:.1f} s are an epoch's",
    )


@contextlib.contextmanager
def utilisation(device: torch.device) -> Iterator[list[str]]:
    """How busy the GPU is while the block runs, its start included, if nvidia-smi can tell."""
    found: list[str] = []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    index = [] if device.index is None else ["-i", str(device.index)]
    try:
        if device.type == "cpu":
            raise OSError
        process = subprocess.Popen(
            [*command, *index, "-lms", "100"], stdout=subprocess.PIPE, text=True
        )
    except OSError:
        yield found
        return
    try:
        yield found
    finally:
        process.kill()
        output, _ = process.communicate()
    seen = [int(line) for line in output.splitlines() if line.strip().isdecimal()]
    if seen:
        found.append(f"{sum(seen) / len(seen):.0f} % in {len(seen)} samples")


PARTS = {
    function.__name__: function for function in (losses, waits, clustering, modes, speed, resume)
}


def main() -> None:
    """Run one part: its name, a model, and the fields of a Workplace as JSON."""
    part, model, text = sys.argv[1:]
    fields = json.loads(text)
    places = {"folder": Path(fields["folder"]), "device": torch.device(fields["device"])}
    for finding in PARTS[part](Workplace(**fields | places), model):
        print(json.dumps(finding), flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Compare our data loader with torchvision's ImageFolder and the same transforms (images/s).

Both sides load batches of two augmented views of JPEGs of about 500 × 375 pixels (resize 256
bicubic, random crop 224, flip), with the same number of worker processes, in one run, in turns. The
baseline is that of published code: a DataLoader and an ImageFolder whose transform makes both views
of the decoded image.

    python benchmarks/loading_benchmark.py [--images 400] [--workers 2] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from field_loop import FRESH, TwoViews
from gcdflow.config.settings import CropAugmentation
from gcdflow.data.augmentation import build_augmentation
from gcdflow.data.datasets.images import FileImages, decode_image
from gcdflow.data.loading import training_batches
from made_pictures import split_of, write_images


def ours(folder: Path, paths: list[str], batch_size: int, workers: int) -> float:
    """Seconds per image of one epoch of our loader."""
    began = time.perf_counter()
    for _, batches in training_batches(
        split_of(paths, folder),
        FileImages(folder, paths),
        build_augmentation(CropAugmentation(resize=256, image_size=224)),
        epochs=range(1),
        batch_size=batch_size,
        seed=0,
        num_workers=workers,
    ):
        seen = sum(len(batch.positions) for batch in batches)
    return (time.perf_counter() - began) / seen


def baseline(folder: Path, batch_size: int, workers: int) -> float:
    """Seconds per image of one epoch of ImageFolder and DataLoader."""
    dataset = ImageFolder(str(folder), TwoViews(FRESH))
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True, num_workers=workers)
    began = time.perf_counter()
    seen = sum(len(labels) for _, labels in loader)
    return (time.perf_counter() - began) / seen


def shares(folder: Path, paths: list[str]) -> dict[str, float]:
    """Seconds per image of each part of our loader, in one process with one thread."""
    augmentation = build_augmentation(CropAugmentation(resize=256, image_size=224))
    torch.set_num_threads(1)
    began = time.perf_counter()
    images = [decode_image(folder / path, augmentation.shortest_side) for path in paths]
    decoded = time.perf_counter()
    prepared = augmentation.prepare(images)
    resized = time.perf_counter()
    u = np.random.default_rng(0).random((len(paths), augmentation.n_draws))
    for _ in range(2):
        augmentation.view(prepared, u)
    done = time.perf_counter()
    parts = {"decode": decoded - began, "resize": resized - decoded, "two crops": done - resized}
    return {name: seconds / len(paths) for name, seconds in parts.items()}


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_images(folder, arguments.images)
        size = statistics.mean((folder / path).stat().st_size for path in paths)
        print(f"{len(paths)} JPEGs of about 500 × 375, {size / 1000:.0f} kB each")
        rounds = [
            (
                ours(folder, paths, arguments.batch_size, arguments.workers),
                baseline(folder, arguments.batch_size, arguments.workers),
            )
            for _ in range(arguments.rounds)
        ]
        ratios = [theirs / mine for mine, theirs in rounds]
        mine, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"ours                     {1 / mine:6.0f} images/s (two views each)")
        print(f"ImageFolder + DataLoader {1 / theirs:6.0f} images/s")
        print(
            f"ratio {statistics.median(ratios):.2f} (of {arguments.rounds} rounds: "
            f"{min(ratios):.2f} to {max(ratios):.2f}), {arguments.workers} workers"
        )
        parts = shares(folder, paths[:100])
        total = sum(parts.values())
        for part, seconds in parts.items():
            print(f"{part:9} {1000 * seconds:5.2f} ms per image, {seconds / total:4.0%}")


if __name__ == "__main__":
    main()

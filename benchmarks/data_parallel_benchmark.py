#!/usr/bin/env python
"""Compare training with 1, 2, 4 … processes (images per second, and ratio to one process).

Each process has its own GPU or, without GPUs, the same number of CPU threads. The size of the whole
batch is constant, and each process embeds a part of it. On a CPU, the workload is the small network
of the digits; on GPUs, it is a ViT-B/16 (random weights, last block trained, as for CUB) on
generated JPEGs. The benchmark prints medians over rounds of the speed that the training stage logs
for its last epoch, without start-up.

    python benchmarks/data_parallel_benchmark.py [--ranks 1 2 4] [--rounds 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from gcdflow.cli import available_threads
from gcdflow.config.settings import RunSettings
from gcdflow.files.event_log import read_scalars
from made_pictures import write_images
from training_workplace import run_stage

SCHEDULE = {"warmup_epochs": 3, "total_epochs": 3}
SMALL = {
    "dataset": {"name": "digits"},
    "augmentation": {"name": "affine", "elastic": 0.03, "stroke": 0.7},
    "backbone": {"name": "small_convnet", "width": 32},
    "head": {"hidden_dim": 512, "bottleneck_dim": 128, "out_dim": 512},
    "schedule": SCHEDULE,
    "training": {"batch_size": 128, "lr": 0.003},
}
LARGE = {
    "dataset": {"name": "image_folder", "test": None, "old_classes": ["class"]},
    "augmentation": {"name": "crop"},
    "backbone": {"name": "timm", "model": "dino_vitb16", "weights": "random"},
    "schedule": SCHEDULE,
    "training": {"batch_size": 128, "lr": 0.003, "mixed_precision": True},
}


def throughput(folder: Path, settings: RunSettings, ranks: int, threads: int) -> float:
    """Images per second in the last of three epochs."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        run_stage(
            "train",
            *("--settings", json.dumps(settings.train_settings(guided=False).model_dump())),
            *("--split", folder / "split.npz", "--output", Path(name) / "ckpt.pt"),
            *("--log-dir", Path(name) / "log", "--stop-at-epoch", SCHEDULE["total_epochs"]),
            *("--gpus", ranks, "--threads", threads * ranks),
        )
        return read_scalars(Path(name) / "log")["images_per_second"][-1][1]


def main() -> None:
    """Measure in turns and print."""
    n_gpus = torch.cuda.device_count()
    most = n_gpus or available_threads()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    powers = [2**i for i in range(most.bit_length()) if 2**i <= most]
    parser.add_argument("--ranks", type=int, nargs="+", default=powers, help="numbers of processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    parser.add_argument("--images", type=int, default=1500, help="JPEGs (with GPUs)")
    arguments = parser.parse_args()
    threads = arguments.threads or (available_threads() // most if n_gpus else 1)
    name = torch.cuda.get_device_name() if n_gpus else "CPU"
    ranks = sorted({1, *arguments.ranks})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        values = LARGE if n_gpus else SMALL
        if n_gpus:
            write_images(folder / "images" / "train", arguments.images)
        settings = RunSettings.model_validate(
            {**values, "dataset": {**values["dataset"], "root": str(folder)}}
        )
        run_stage(
            "dataset",
            *("--settings", json.dumps(settings.dataset.model_dump())),
            *("--split", folder / "split.npz", "--truth", folder / "truth.npz"),
        )
        rounds = [
            [throughput(folder, settings, n, threads) for n in ranks]
            for _ in range(arguments.rounds)
        ]
    print(f"{name}: batches of {settings.training.batch_size}, {threads} threads per process")
    for n, column in zip(ranks, zip(*rounds, strict=True), strict=True):
        ratios = [several / one[0] for several, one in zip(column, rounds, strict=True)]
        print(
            f"{n:2} processes {statistics.median(column):7.0f} images/s, ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()

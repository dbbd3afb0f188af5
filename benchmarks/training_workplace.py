"""Pictures, and what is done with them by both sides of a benchmark of training.

Ours is what the stages run: segments of training, whose speed stands in their event log, from
stored and with fresh views, and the features of all images at a refresh. The other side is
:mod:`field_loop`.
"""

from __future__ import annotations

import math
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from field_loop import FieldLoop
from gcdflow.config.settings import RunSettings, TrainSettings
from gcdflow.data.workers import PREFETCHED
from gcdflow.files.event_log import read_scalars
from gcdflow.models.timm_models import timm_name
from gcdflow.surroundings import keep_freed_memory
from gcdflow.training import features
from gcdflow.training.segment import train_segment
from gcdflow.training.segment_files import SegmentFiles
from gcdflow.training.views import make_views
from made_pictures import split_of, write_images

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow_scripts"
MODELS = ("vit_small_patch16_224", "vit_base_patch16_224", "efficientnet_lite0")
VIEWS = {"fresh": False, "stored": True}  # kinds of training: whether they start from stored views


@dataclass(frozen=True)
class Workplace:
    """A folder of pictures with a split, and what both sides may use.

    Attributes
    ----------
    folder : Path, with ``pictures`` and ``split.npz``
    n_images, batch_size : int
    n_views : int, that are stored of each image
    threads : int, of PyTorch, and as many loading processes
    device : torch.device
    out_dim : int, outputs of the head
    """

    folder: Path
    n_images: int
    batch_size: int
    n_views: int
    threads: int
    device: torch.device
    out_dim: int = 65536

    def write(self) -> None:
        """Write the pictures and their split, in which every other one is labelled."""
        pictures = self.folder / "pictures"
        split_of(write_images(pictures, self.n_images), pictures).save(self.split)

    def settings(self, model: str, is_stored: bool, **training: object) -> TrainSettings:
        """A warm-up with the field's head and losses."""
        views = self.n_views if is_stored else None
        return RunSettings.model_validate(
            {
                "augmentation": {
                    **{"name": "crop", "resize": 256, "image_size": 224},
                    "interpolation": "bicubic",
                },
                "backbone": {"name": "timm", "model": model, "weights": "random"},
                "head": {"out_dim": self.out_dim},
                "schedule": {"warmup_epochs": 999, "total_epochs": 999},
                "training": {
                    **{"batch_size": self.batch_size, "views": views, "lr": 0.003},
                    **training,
                },
            }
        ).train_settings(guided=False)

    @property
    def split(self) -> Path:
        """The split of all pictures."""
        return self.folder / "split.npz"

    @property
    def views(self) -> Path:
        """Where stored views lie."""
        return self.folder / "views.npy"

    @property
    def checkpoint(self) -> Path:
        """Where the last training left its checkpoint."""
        return self.folder / "ckpt.pt"

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return max(1, round(self.n_images / self.batch_size))

    @property
    def options(self) -> dict[str, object]:
        """Device, threads and loading processes, as the stages take them."""
        return {"device": str(self.device), "threads": self.threads, "num_workers": self.threads}

    def train(self, chosen: TrainSettings, epochs: int) -> list[float]:
        """Train from the beginning, from stored views if it is to; images per second by epoch."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            output, log = Path(name) / "c.pt", Path(name) / "log"
            views = None if chosen.training.views is None else self.views
            files = SegmentFiles(self.split, output, log, views=views)
            train_segment(chosen, files, stop_at_epoch=epochs, **self.options)
            output.replace(self.checkpoint)
            return [speed for _, speed in read_scalars(log)["images_per_second"]]

    def training_speed(self, model: str, is_stored: bool, **training: object) -> float:
        """Images per second of a training.

        From stored views the median of four epochs, after one that checks the file. With fresh
        views that of the second; as many more as are loaded ahead keep the loaders as busy.
        """
        epochs = 5 if is_stored else 2 + math.ceil(PREFETCHED * self.threads / self.n_steps)
        speeds = self.train(self.settings(model, is_stored, **training), epochs)
        return statistics.median(speeds[1:] if is_stored else speeds[1:2])

    def make_views(self, model: str) -> float:
        """Store views of all pictures; seconds."""
        began = time.perf_counter()
        stored = self.settings(model, True).views_settings()
        make_views(stored, self.split, self.views, **self.options)
        return time.perf_counter() - began

    def features_speed(self, is_stored: bool) -> float:
        """Images per second of a pass with the last checkpoint, from when its model is there."""
        began: list[float] = []
        opened = "open_views" if is_stored else "evaluation_batches"
        function = getattr(features, opened)

        def noting(*arguments: object, **options: object) -> object:
            began.append(time.perf_counter())
            return function(*arguments, **options)

        setattr(features, opened, noting)
        try:
            found = features.extract_features(
                self.checkpoint, self.split, self.views if is_stored else None, **self.options
            )
        finally:
            setattr(features, opened, function)
        return len(found.features) / (time.perf_counter() - began[0])

    def field(self, model: str) -> FieldLoop:
        """The field's loop over the same pictures."""
        torch.use_deterministic_algorithms(False)  # a segment on a CPU switches it on
        torch.set_num_threads(self.threads)
        return FieldLoop(
            timm_name(model),
            self.folder / "pictures",
            batch_size=self.batch_size,
            device=self.device,
            workers=self.threads,
            out_dim=self.out_dim,
        )

    def peak_memory(self, model: str, is_stored: bool) -> int:
        """Peak bytes of a new training process; loading processes do not count."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_peak_of_training, self, model, is_stored).result()


def _peak_of_training(work: Workplace, model: str, is_stored: bool) -> int:
    keep_freed_memory()  # as a stage does
    work.train(work.settings(model, is_stored), 1)
    return peak_bytes()


def peak_bytes() -> int:
    """Most memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def run_stage(name: str, *arguments: object) -> None:
    """Run a stage as a process; if it fails, this one ends with its messages."""
    command = [sys.executable, SCRIPTS / f"{name}.py", *arguments]
    result = subprocess.run([str(a) for a in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(result.stderr)


def line(cells: list) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(header: list[str], rows: list[list]) -> str:
    """A Markdown table."""
    return "\n".join(line(cells) for cells in [header, ["---"] * len(header), *rows])

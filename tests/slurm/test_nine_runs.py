"""Nine runs keep the GPU and the CPU partition busy at the same time."""

from __future__ import annotations

import runpy
import shutil
import signal
from itertools import product
from pathlib import Path

from one_node import OneNode
from slurm_runs import ROOT, start

TIMELINE = runpy.run_path(str(ROOT / "benchmarks" / "timeline.py"))
CLASSES = {"low": [0, 1, 2, 3, 4], "even": [0, 2, 4, 6, 8], "high": [5, 6, 7, 8, 9]}
SEEDS = [0, 1, 2]
CHANGES = {
    "default_runs": ["sweep"],
    "sweeps": {
        "sweep": {
            "inherit": "digits-smoke",
            "schedule": {"warmup_epochs": 2, "refresh_interval": 1, "total_epochs": 3},
            "over": {"dataset.old_classes": CLASSES, "seed": SEEDS},
        }
    },
}


def test_nine_runs_keep_both_partitions_busy(tmp_path: Path):
    records = tmp_path / "jobcomp.log"
    with OneNode(tmp_path / "node", cpus=5, memory_mb=500_000) as node:
        process = start(tmp_path / "runs", ["all"], CHANGES, node)
        try:
            status = process.wait(timeout=2400)
        finally:
            process.send_signal(signal.SIGINT)
        shutil.copy(node.folder / "jobcomp.log", records)
    assert status == 0, (tmp_path / "runs/all.log").read_text()
    for classes, seed in product(CLASSES, SEEDS):
        folder = tmp_path / f"runs/runs/sweep-{classes}-seed{seed}"
        assert (folder / "report.md").exists(), folder
        assert (folder / "gallery.html").exists(), folder
    jobs = TIMELINE["read_jobs"](records.read_text())
    assert {p: sum(job.partition == p for job in jobs) for p in ("gpu", "cpu")} == {
        "gpu": 9 * 4,  # two trainings and two feature extractions each
        "cpu": 9 * 7,  # dataset, two clusterings and evaluations, assignments, gallery
    }
    shares = TIMELINE["shares"](jobs, ["gpu", "cpu"])
    print(shares)
    on_gpu, _ = TIMELINE["busy"](
        [job for job in jobs if job.partition == "gpu"], TIMELINE["seconds"](jobs)
    )
    assert on_gpu.max() == 2
    assert shares["all"] > 0.2, shares  # the last third are galleries, which need no GPU
    TIMELINE["draw"](jobs, ["gpu", "cpu"], tmp_path / "timeline.png")

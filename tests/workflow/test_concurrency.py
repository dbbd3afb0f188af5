"""Two runs on a machine with one GPU: trainings queue for it, clusterings do not wait."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import combinations
from pathlib import Path

from snakemake_runs import snakemake

RUNS = {
    name: {
        "inherit": "digits-smoke",
        "seed": seed,
        "schedule": {"warmup_epochs": 2, "refresh_interval": 2, "total_epochs": 4},
    }
    for seed, name in enumerate(("one", "other"))
}
_STAMP = r"\[(\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4})\]\n"


def intervals(output: str) -> dict[str, list[tuple[datetime, datetime]]]:
    """Start and end of the jobs of each rule, from Snakemake's log."""
    began, found = {}, {}
    for stamp, begun, ended, rule in re.findall(
        _STAMP
        + r"(?:(?:local)?rule \w+:\n(?:    .*\n)*?    jobid: (\d+)"
        + r"|Finished jobid: (\d+) \(Rule: (\w+)\))",
        output,
    ):
        time = datetime.strptime(stamp, "%a %b %d %H:%M:%S %Y")
        if begun:
            began[begun] = time
        else:
            found.setdefault(rule, []).append((began[ended], time))
    return found


def overlap(a: tuple[datetime, datetime], b: tuple[datetime, datetime]) -> float:
    """Seconds in which two jobs ran at the same time."""
    return (min(a[1], b[1]) - max(a[0], b[0])).total_seconds()


def test_trainings_take_turns_on_the_gpu_while_clusterings_run(tmp_path: Path):
    targets = [f"runs/{name}/pseudo_epoch004.npz" for name in RUNS]
    arguments = ["--cores", "4", "--resources", "gpu=1", "--set-threads", "train=1", "cluster=1"]
    result = snakemake(tmp_path, *arguments, "--", *targets, changes={"runs": RUNS})
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    jobs = intervals(output)
    on_gpu = jobs["train"] + jobs["features"]
    assert (len(jobs["train"]), len(jobs["features"]), len(jobs["cluster"])) == (4, 4, 4)
    assert all(overlap(a, b) <= 0 for a, b in combinations(on_gpu, 2))
    assert max(overlap(a, b) for a in jobs["cluster"] for b in on_gpu) >= 1

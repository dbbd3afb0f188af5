"""Two runs on a machine with one GPU: trainings queue for it, clusterings do not wait."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

from snakemake_runs import snakemake

RUNS = {
    name: {
        "inherit": "digits-smoke",
        "seed": seed,
        "schedule": {"warmup_epochs": 2, "refresh_interval": 2, "total_epochs": 2},
    }
    for seed, name in enumerate(("one", "other"))
}
_EVENT = re.compile(
    r"^(?:local)?rule \w+:\n(?:    .*\n)*?    jobid: (\d+)"
    r"|^Finished jobid: (\d+) \(Rule: (\w+)\)",
    re.MULTILINE,
)


def intervals(output: str) -> dict[str, list[tuple[int, int]]]:
    """Start and end of the jobs of each rule, as places in Snakemake's log.

    Snakemake logs an end before it gives what the job held to another one. So the order of the log
    is exact, however fast the machine is.
    """
    began, found = {}, {}
    for event in _EVENT.finditer(output):
        begun, ended, rule = event.groups()
        if begun:
            began[begun] = event.start()
        else:
            found.setdefault(rule, []).append((began[ended], event.start()))
    return found


def overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two jobs ran at the same time."""
    return max(a[0], b[0]) < min(a[1], b[1])


def test_trainings_take_turns_on_the_gpu_while_clusterings_run(tmp_path: Path):
    targets = [f"runs/{name}/pseudo_epoch002.npz" for name in RUNS]
    # No job takes all cores: a clustering starts as soon as its features are there.
    threads = [f"{rule}=1" for rule in ("train", "features", "cluster")]
    arguments = ["--cores", "4", "--resources", "gpu=1", "--set-threads", *threads]
    result = snakemake(tmp_path, *arguments, "--", *targets, changes={"runs": RUNS})
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    jobs = intervals(output)
    on_gpu = jobs["train"] + jobs["features"]
    assert (len(jobs["train"]), len(jobs["features"]), len(jobs["cluster"])) == (2, 2, 2)
    assert not any(overlap(a, b) for a, b in combinations(on_gpu, 2))
    assert any(overlap(a, b) for a in jobs["cluster"] for b in on_gpu)

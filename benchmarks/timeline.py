#!/usr/bin/env python
"""Draw how busy the partitions of a Slurm cluster were over time, from the records of its jobs.

The input is a file of Slurm's plugin jobcomp/filetxt, or the output of `scontrol show job -o`. The
script prints the share of the time, from the first start to the last end, in which each partition
had work, and in which all had. The file of jobcomp/filetxt includes every run of a requeued job.

    python benchmarks/timeline.py jobcomp.log --partitions gpu cpu --output timeline.png
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

_FIELD = re.compile(r"(\S+?)=(\S*)")


@dataclass(frozen=True)
class Job:
    """One run of one job: partition, processors, and when it ran (seconds since the epoch)."""

    partition: str
    cpus: int
    began: float
    ended: float


def read_jobs(text: str) -> list[Job]:
    """All finished jobs in the records, which have one line per job."""
    jobs = []
    for line in text.splitlines():
        record = dict(_FIELD.findall(line))
        try:
            times = [datetime.fromisoformat(record[key]) for key in ("StartTime", "EndTime")]
        except (KeyError, ValueError):  # no record, or a job that never started
            continue
        cpus = int(record.get("ProcCnt") or record["NumCPUs"])
        jobs.append(Job(record["Partition"], cpus, *(time.timestamp() for time in times)))
    return jobs


def busy(jobs: list[Job], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of running jobs and of their processors at each time; int (n_times,)."""
    running = np.array([(job.began <= times) & (times < job.ended) for job in jobs], dtype=int)
    running = running.reshape(len(jobs), len(times))
    return running.sum(axis=0), np.array([job.cpus for job in jobs], dtype=int) @ running


def shares(jobs: list[Job], partitions: list[str]) -> dict[str, float]:
    """Share of the time in which each partition had work; `all`: in which all of them had."""
    times = seconds(jobs)
    has_work = {
        partition: busy([job for job in jobs if job.partition == partition], times)[0] > 0
        for partition in partitions
    }
    found = {partition: float(work.mean()) for partition, work in has_work.items()}
    return {**found, "all": float(np.logical_and.reduce(list(has_work.values())).mean())}


def seconds(jobs: list[Job]) -> np.ndarray:
    """Each second from the first start to the last end."""
    return np.arange(min(job.began for job in jobs), max(job.ended for job in jobs))


def draw(jobs: list[Job], partitions: list[str], output: Path) -> None:
    """Draw each partition: the number of running jobs above, and a line for each job below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    times = seconds(jobs)
    figure, panels = pyplot.subplots(
        2 * len(partitions), 1, sharex=True, figsize=(9, 2.6 * len(partitions)), squeeze=False
    )
    for i, partition in enumerate(partitions):
        those = sorted((j for j in jobs if j.partition == partition), key=lambda job: job.began)
        count, cpus = busy(those, times)
        above, below = panels[2 * i, 0], panels[2 * i + 1, 0]
        above.fill_between((times - times[0]) / 60, count, step="post", color=f"C{i}", alpha=0.4)
        above.plot((times - times[0]) / 60, cpus, drawstyle="steps-post", color="k", lw=0.6)
        above.set_ylabel("jobs, CPUs")
        above.set_title(
            f"{partition}: {len(those)} jobs, busy {np.mean(count > 0):.0%} of the time"
            " (filled: jobs; line: CPUs)",
            fontsize=9,
        )
        began = np.array([job.began for job in those]) - times[0]
        ended = np.array([job.ended for job in those]) - times[0]
        below.hlines(range(len(those)), began / 60, ended / 60, color=f"C{i}", lw=1.5)
        below.set_ylabel("each job")
        below.set_yticks([])
    panels[-1, 0].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(output, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Draw, and print the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path)
    parser.add_argument("--partitions", nargs="+", default=["gpu", "cpu"])
    parser.add_argument("--output", type=Path, required=True, help="picture to write (.png)")
    arguments = parser.parse_args()
    jobs = read_jobs(arguments.records.read_text())
    if not jobs:
        parser.error(f"{arguments.records}: contains no finished job")
    draw(jobs, arguments.partitions, arguments.output)
    length = len(seconds(jobs)) / 60
    print(f"{len(jobs)} jobs in {length:.1f} minutes; share of the time with work:")
    for name, share in shares(jobs, arguments.partitions).items():
        print(f"  {name}: {share:.1%}")


if __name__ == "__main__":
    main()

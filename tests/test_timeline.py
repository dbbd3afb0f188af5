"""The timeline of Slurm jobs, from their records."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "timeline.py"
TIMELINE = runpy.run_path(str(SCRIPT))
RECORDS = """\
JobId=1 User=x(0) Partition=gpu StartTime=2026-01-01T10:00:00 EndTime=2026-01-01T10:00:06 ProcCnt=1
JobId=2 Partition=cpu StartTime=2026-01-01T10:00:04 EndTime=2026-01-01T10:00:10 NumCPUs=4 Requeue=1
JobId=3 Partition=cpu StartTime=2026-01-01T10:00:05 EndTime=2026-01-01T10:00:08 ProcCnt=2 Account=
JobId=4 Partition=cpu StartTime=Unknown EndTime=Unknown ProcCnt=2
"""


def test_running_jobs_and_processors_at_each_second():
    jobs = TIMELINE["read_jobs"](RECORDS)
    assert [(job.partition, job.cpus) for job in jobs] == [("gpu", 1), ("cpu", 4), ("cpu", 2)]
    count, cpus = TIMELINE["busy"](jobs, TIMELINE["seconds"](jobs))
    np.testing.assert_array_equal(count, [1, 1, 1, 1, 2, 3, 2, 2, 1, 1])
    np.testing.assert_array_equal(cpus, [1, 1, 1, 1, 5, 7, 6, 6, 4, 4])


def test_share_of_the_time_with_work():
    shares = TIMELINE["shares"](TIMELINE["read_jobs"](RECORDS), ["gpu", "cpu"])
    assert shares == pytest.approx({"gpu": 0.6, "cpu": 0.6, "all": 0.2})


def test_the_script_draws_and_prints_the_shares(tmp_path: Path):
    (tmp_path / "jobcomp.log").write_text(RECORDS)
    command = [sys.executable, SCRIPT, tmp_path / "jobcomp.log", "--output", tmp_path / "t.png"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "3 jobs in 0.2 minutes" in printed
    assert "all: 20.0%" in printed
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_records_without_a_job_are_refused(tmp_path: Path):
    (tmp_path / "empty").write_text("No jobs in the system\n")
    command = [sys.executable, SCRIPT, tmp_path / "empty", "--output", tmp_path / "t.png"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 2
    assert "contains no finished job" in result.stderr

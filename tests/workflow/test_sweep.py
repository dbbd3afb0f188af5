"""A sweep makes its runs; their table shows the finished ones and never starts a training."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from snakemake_runs import make, planned

SWEEP = {
    "default_runs": ["tries"],
    "sweeps": {"tries": {"inherit": "digits-smoke", "over": {"seed": [0, 1]}}},
}
TABLE = "results/summary.tsv"


def states(directory: Path) -> dict[str, str]:
    """State of each run in the table."""
    with open(directory / TABLE, encoding="utf-8") as file:
        return {row["run"]: row["state"] for row in csv.DictReader(file, delimiter="\t")}


def test_a_sweep_is_the_default_target(tmp_path: Path):
    plan = planned(tmp_path, changes=SWEEP)
    assert (plan["train"], plan["cluster"], plan["report"], plan["gallery"]) == (6, 6, 2, 2)
    assert "summary" not in plan


def test_the_table_shows_finished_and_missing_runs(finished_run: Path, tmp_path: Path):
    assert planned(tmp_path, TABLE, changes=SWEEP) == {"summary": 1}
    metrics = "metrics_epoch004.json"
    for seed in (0, 1):
        folder = tmp_path / "runs" / f"tries-seed{seed}"
        folder.mkdir(parents=True)
        shutil.copy(finished_run / "runs" / "digits-smoke" / metrics, folder)
        output = make(tmp_path, TABLE, changes=SWEEP)
        assert f"{seed + 1} of 2 runs are done" in output
        assert states(tmp_path) == {
            "tries-seed0": "done",
            "tries-seed1": "done" if seed == 1 else "missing",
        }
        text = (tmp_path / "results" / "summary.md").read_text()
        assert (f"no `runs/tries-seed1/{metrics}`" in text) == (seed == 0)
        assert ("| tries   |    2 |" in text) == (seed == 1)
        assert planned(tmp_path, TABLE, changes=SWEEP) == {}


def test_a_table_waits_for_runs_that_the_same_call_asks_for(finished_copy: Path):
    """Another default run is not asked for, and is missing in the table."""
    changes = {"default_runs": ["digits-smoke", "digits"]}
    for name in ("report.md", "metrics_epoch004.json"):
        (finished_copy / "runs" / "digits-smoke" / name).unlink()
    make(finished_copy, TABLE, "runs/digits-smoke/report.md", changes=changes)
    assert states(finished_copy) == {"digits-smoke": "done", "digits": "missing"}

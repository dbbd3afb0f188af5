"""Other methods in a run: asked for where a run names them, and shown where runs are shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

from snakemake_runs import make, planned, snakemake

RUN = "runs/digits-smoke"


def naming(*methods: str, **clustering: object) -> dict:
    run = {"baselines": list(methods), "clustering": clustering}
    return {"runs": {"digits-smoke": run}, "default_runs": ["digits-smoke"]}


def test_jobs_are_planned_only_where_a_run_names_methods(finished_run: Path, tmp_path: Path):
    target = f"{RUN}/report.md"
    assert "baseline" not in planned(tmp_path, target)
    assert planned(finished_run, target, changes=naming()) == {}
    plan = planned(finished_run, target, changes=naming("kmeans", "hdbscan"))
    assert plan == {"estimate": 3, "baseline": 6, "report": 1}
    assert planned(tmp_path, target, changes=naming("ward"))["baseline"] == 3
    plan = planned(finished_run, f"{RUN}/baseline_ward_epoch003.json")
    assert plan == {"estimate": 1, "baseline": 1}
    assert snakemake(finished_run, "-n", "--", f"{RUN}/baseline_x_epoch003.json").returncode != 0


def test_methods_share_the_estimates_that_some_need(finished_run: Path):
    def plan(*methods: str) -> dict[str, int]:
        targets = [f"{RUN}/baseline_{method}_epoch003.json" for method in methods]
        return planned(finished_run, *targets)

    needing = ("kmeans", "semi_supervised_kmeans", "ward")
    assert plan(*needing) == {"estimate": 1, "baseline": 3}
    assert plan("hdbscan", "hdbscan_bcubed") == {"baseline": 2}
    assert plan("hdbscan", "ward") == {"estimate": 1, "baseline": 2}


def test_draws_of_labels_re_run_only_the_evaluation(finished_run: Path):
    changes = naming(label_draws=2)
    assert planned(finished_run, f"{RUN}/ckpt_epoch004.pt", changes=changes) == {}
    assert planned(finished_run, f"{RUN}/report.md", changes=changes) == {
        "evaluate": 3,
        "report": 1,
    }


def test_a_missing_method_is_made_again_and_a_new_grid_re_runs_no_method(finished_run: Path):
    changes = naming("ward", k="5,7")
    plan = planned(finished_run, f"{RUN}/baseline_ward_epoch002.json", changes=changes)
    assert plan == {"estimate": 1, "baseline": 1}
    changes = naming("ward", normalize=False)
    plan = planned(finished_run, f"{RUN}/baseline_ward_epoch002.json", changes=changes)
    assert plan == {"estimate": 1, "baseline": 1}


def test_a_run_with_other_methods_shows_them(finished_copy: Path):
    changes = naming("hdbscan", label_draws=2)
    targets = (f"{RUN}/report.md", f"{RUN}/report.html", "results/summary.md")
    targets += ("results/summary.html",)
    make(finished_copy, *targets, changes=changes)
    assert planned(finished_copy, *targets, changes=changes) == {}
    for target in targets:
        text = (finished_copy / target).read_text()
        assert all(name in text for name in changes["runs"]["digits-smoke"]["baselines"]), target
    rows = re.findall(
        r"^\| (\d{3}) +\| (\w+) +\| (\w+)", (finished_copy / targets[0]).read_text(), re.MULTILINE
    )
    first = [method for epoch, method, _ in rows if epoch == "002"]
    assert first == ["SSDDBC", "hdbscan"]
    assert len(rows) == 3 * (1 + 1)
    metrics = json.loads((finished_copy / RUN / "metrics_epoch004.json").read_text())
    least, most = metrics["k_range"]
    assert 1 <= least <= most
    assert f" ({least}–{most}) |" in (finished_copy / targets[0]).read_text()
    log = (finished_copy / "logs/digits-smoke/baseline_hdbscan_epoch004.log").read_text()
    assert re.search(
        r"baseline_hdbscan_epoch004.json: \d+ clusters? \(found\), accuracy", log.splitlines()[-1]
    )

"""SSDDBC and other methods in one table, of a run and over runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from example_files import make_baseline, make_metrics
from gcdflow.errors import InputError
from gcdflow.evaluation.comparison import COLUMNS, compared, markdown_comparison
from gcdflow.evaluation.summary import compared_results, parse_result
from gcdflow.files.declared import GRID
from stage_processes import in_process


def write_run(folder: Path, **changes) -> tuple[Path, list[Path]]:
    """Metrics of epoch 50, its grid table of 2.5 seconds, and what two methods have found."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = folder / "metrics_epoch050.json"
    metrics.write_text(json.dumps(make_metrics(ari=0.75) | changes))
    ones = dict.fromkeys(GRID.columns(), 1)
    cells = [ones, *((ones | {"k": k, "seconds": 1.25}).values() for k in (3, 5))]
    rows = ["\t".join(map(str, row)) for row in cells]
    (folder / "grid_epoch050.tsv").write_text("\n".join(rows) + "\n")
    paths = []
    for method in ("kmeans", "ward"):
        paths.append(folder / f"baseline_{method}_epoch050.json")
        paths[-1].write_text(json.dumps(make_baseline(method=method)))
    return metrics, paths


def lines_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_ssddbc_comes_first_with_its_ari_and_seconds(tmp_path: Path):
    metrics, paths = write_run(tmp_path)
    table = markdown_comparison(compared([json.loads(metrics.read_text())], paths))
    assert len({len(line) for line in table.splitlines()}) == 1
    assert lines_of(table)[0] == list(COLUMNS)
    first = ["050", "SSDDBC", "found", "50.0", "75.0", "0.0", "75.0", "100.0", "12", "2.5"]
    told = ["told", "25.0", "50.0", "-", "12.5", "-", "10", "1.2"]
    estimated = ["estimated", "25.0", "50.0", "-", "12.5", "-", "14", "1.2"]
    silhouette = ["silhouette", "25.0", "50.0", "-", "12.5", "-", "11", "1.2"]
    ways = (told, estimated, silhouette)
    of_methods = [["050", m, *way] for m in ("kmeans", "ward") for way in ways]
    assert lines_of(table)[2:] == [first, *of_methods]


def test_older_metrics_and_a_missing_grid_leave_cells_empty(tmp_path: Path):
    _, paths = write_run(tmp_path)
    (tmp_path / "grid_epoch050.tsv").unlink()
    (ssddbc, *_) = lines_of(markdown_comparison(compared([make_metrics()], paths)))[2:]
    assert ssddbc[6] == ssddbc[9] == "-"


def test_without_baselines_and_a_classifier_there_is_nothing_to_compare():
    assert compared([make_metrics()], []) == []


def with_classifier(epoch: int) -> dict:
    """Metrics of a run with a classifier."""
    by = {"transductive": {"all": 0.9, "old": 1.0, "new": 0.8}, "ari": 0.85, "n_categories": 9}
    by["inductive"] = {"all": 0.7, "old": None, "new": 0.7}
    return make_metrics(epoch=epoch, classifier=by, ari=0.25)


def test_the_classifier_comes_before_other_methods(tmp_path: Path):
    _, paths = write_run(tmp_path)
    of_run = [with_classifier(75), make_metrics(epoch=0), with_classifier(50)]
    rows = lines_of(markdown_comparison(compared(of_run, paths)))[2:]
    methods = ["SSDDBC", "classifier", *["kmeans"] * 3, *["ward"] * 3]
    assert [row[:2] for row in rows] == [
        *(["050", method] for method in methods),
        *(["075", method] for method in methods[:2]),
    ]
    assert rows[0][2:] == ["found", "50.0", "75.0", "0.0", "25.0", "100.0", "12", "2.5"]
    assert rows[1][2:] == ["-", "90.0", "100.0", "80.0", "85.0", "70.0", "9", "-"]
    assert rows[-1][2:] == rows[1][2:]
    assert rows[-2][2:] == [*rows[0][2:-1], "-"]  # the seconds lie beside the baselines


@pytest.mark.parametrize("name", ["r.md", "r.html"])
def test_report_and_summary_show_the_classifier(tmp_path: Path, name: str):
    for epoch in (50, 75):
        (tmp_path / f"{epoch}.json").write_text(json.dumps(with_classifier(epoch)))
    flag = {".md": "--markdown", ".html": "--html"}[Path(name).suffix]
    for stage, *arguments in (
        ("report", "--run", "x", "--output", name, "50.json", "75.json"),
        ("summary", flag, name, "x=75.json"),
    ):
        assert in_process(stage, *arguments, cwd=tmp_path).returncode == 0
        said = (tmp_path / name).read_text()
        assert said.count("classifier") == {"report": 4, "summary": 3}[stage]
        assert "90.0" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 75}, "is of epoch 75, which has no metrics"),
        ({"n_classes": 11}, "was measured against another truth"),
        ({"method": "k|means"}, "not a baseline file"),
        ({"results": []}, "not a baseline file"),
        ({"results": [{"number": "guessed"}]}, "not a baseline file"),
    ],
)
def test_baselines_that_do_not_belong(tmp_path: Path, changes: dict, message: str):
    path = tmp_path / "b.json"
    path.write_text(json.dumps(make_baseline() | changes))
    with pytest.raises(InputError, match=rf"b\.json: {message}"):
        compared([make_metrics()], [path])


def test_means_over_runs_of_what_there_is(tmp_path: Path):
    results, paths = [], []
    for run, ari in (("a", 0.5), ("b", 0.75)):
        metrics, own = write_run(tmp_path / run, ari=ari)
        results.append(parse_result(f"x={metrics}"))
        paths += own
    (tmp_path / "b" / "baseline_ward_epoch050.json").unlink()
    named_none, _ = write_run(tmp_path / "c")  # has baselines, but names none
    results.append(parse_result(f"y={named_none}"))
    results.append(parse_result(f"z={tmp_path / 'd' / 'metrics_epoch050.json'}"))
    rows = lines_of(compared_results(results, [*paths, tmp_path / "d/baseline_ward_epoch050.json"]))
    assert rows[0][:4] == ["setting", "method", "number", "runs"]
    found = {tuple(row[:3]): row[3:] for row in rows[2:]}
    assert {key: row[0] for key, row in found.items()} == {
        ("x", "SSDDBC", "found"): "2",
        ("x", "kmeans", "told"): "2",
        ("x", "kmeans", "estimated"): "2",
        ("x", "kmeans", "silhouette"): "2",
        ("x", "ward", "told"): "1",
        ("x", "ward", "estimated"): "1",
        ("x", "ward", "silhouette"): "1",
    }
    of_ssddbc = ["62.5 ± 17.7", "100.0 ± 0.0", "12.0 ± 0.0", "2.5 ± 0.0"]
    assert found["x", "SSDDBC", "found"][4:] == of_ssddbc
    assert compared_results(results, []) == ""


@pytest.mark.parametrize("kind", ["md", "html"])
def test_report_and_summary_with_and_without_baselines(tmp_path: Path, kind: str):
    metrics, paths = write_run(tmp_path / "r", label_draws=5, k_range=[9, 13])

    def said(stage: str, *arguments: object) -> str:
        assert in_process(stage, *arguments, cwd=tmp_path).returncode == 0
        return (tmp_path / f"out.{kind}").read_text()

    report = ("report", "--run", "r", "--output", f"out.{kind}", metrics, "--baselines")
    flag = {"md": "--markdown", "html": "--html"}[kind]
    summary = ("summary", flag, f"out.{kind}", f"x={metrics}", "--baselines")
    for arguments in (report, summary):
        alone = said(*arguments)
        assert "semi" not in alone
        assert "Beside SSDDBC" not in alone
        text = said(*arguments, *paths)
        assert "Beside SSDDBC" in text
        for way in ("estimated", "silhouette"):
            assert text.count(way) == 3, "once in words, and for each method"
    text = said(*report)
    assert "last checkpoint, epoch 050: the schedule chooses it,\nnever the truth." in (
        text.replace("chooses it, never", "chooses it,\nnever")
    )
    assert "12 (9–13)" in text
    assert "over 5 draws of labels" in text
    metrics.write_text(json.dumps(make_metrics()))
    assert "draws" not in said(*report)

"""Tables of several runs: means over seeds, and missing runs."""

import csv
import io
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from example_files import make_metrics as metrics
from gcdflow.errors import InputError
from gcdflow.evaluation.summary import (
    TSV_COLUMNS,
    Result,
    markdown_table,
    mean_and_deviation,
    missing_runs,
    parse_result,
    write_tsv,
)

SCRIPT = Path(__file__).parents[2] / "workflow_scripts" / "summary.py"


def result(tmp_path: Path, setting: str, run: str, accuracy: float | None, **changes) -> Result:
    """A run with this transductive accuracy; None: a missing run."""
    path = tmp_path / run / "metrics_epoch050.json"
    if accuracy is not None:
        path.parent.mkdir(exist_ok=True)
        shares = {"all": accuracy, "old": accuracy / 2, "new": None}
        path.write_text(json.dumps(metrics(transductive=shares, **changes)))
    return parse_result(f"{setting}={path}")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "-"),
        ([None], "-"),
        ([0.5], "50.0"),
        ([0.5, None], "50.0"),
        ([0.5, 0.5], "50.0 ± 0.0"),
        ([0.91, 0.94, 0.95], f"93.3 ± {100 * statistics.stdev([0.91, 0.94, 0.95]):.1f}"),
    ],
)
def test_mean_and_deviation(values, text):
    assert mean_and_deviation(values, factor=100) == text


def test_markdown_has_a_row_for_each_setting(tmp_path):
    table = markdown_table(
        [
            result(tmp_path, "a", "a0", 0.5, n_clusters=10),
            result(tmp_path, "b", "b0", 0.25),
            result(tmp_path, "a", "a1", 0.7, n_clusters=12),
            result(tmp_path, "b", "b1", None),
            result(tmp_path, "c", "c0", None),
        ]
    )
    lines = table.splitlines()
    assert len({len(line) for line in lines}) == 1
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[1][0].strip("-") == ""
    assert all(cell.endswith("-:") for cell in rows[1][1:])
    by_column = [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]
    assert [row["setting"] for row in by_column] == ["a", "b", "c"]
    assert [row["runs"] for row in by_column] == ["2", "1 of 2", "0 of 1"]
    assert [row["epoch"] for row in by_column] == ["050", "050", "missing"]
    assert [row["all"] for row in by_column] == ["60.0 ± 14.1", "25.0", "-"]
    assert [row["old"] for row in by_column] == ["30.0 ± 7.1", "12.5", "-"]
    assert [row["new"] for row in by_column] == ["-", "-", "-"]
    assert [row["clusters"] for row in by_column] == ["11.0 ± 1.4", "12.0", "-"]


def test_tsv_has_a_row_for_each_run(tmp_path):
    file = io.StringIO()
    there = result(tmp_path, "a", "a0", 0.5, ari=0.25)
    write_tsv(file, [there, result(tmp_path, "a", "a1", None)])
    rows = list(csv.DictReader(io.StringIO(file.getvalue()), delimiter="\t"))
    assert tuple(rows[0]) == TSV_COLUMNS
    done, missing = rows
    assert (done["setting"], done["run"], done["state"]) == ("a", "a0", "done")
    assert float(done["transductive_all"]) == 0.5
    assert done["transductive_new"] == ""
    assert float(done["ari"]) == 0.25
    assert done["classifier_transductive_all"] == done["classifier_ari"] == ""
    assert (missing.pop("setting"), missing.pop("run"), missing.pop("state")) == (
        *("a", "a1", "missing"),
    )
    assert set(missing.values()) == {""}


def test_tsv_has_the_categories_of_a_classifier(tmp_path):
    one = result(tmp_path, "a", "a0", 0.5)
    other = result(tmp_path, "a", "a1", 0.75).metrics
    one.metrics["classifier"] = {**other, "ari": 0.125}
    file = io.StringIO()
    write_tsv(file, [one])
    (row,) = csv.DictReader(io.StringIO(file.getvalue()), delimiter="\t")
    assert float(row["transductive_all"]) == 0.5
    assert float(row["classifier_transductive_all"]) == 0.75
    assert float(row["classifier_ari"]) == 0.125


def test_missing_runs_are_named(tmp_path):
    there, absent = result(tmp_path, "a", "a0", 0.5), result(tmp_path, "a", "a1", None)
    assert missing_runs([there]) == ""
    assert f"- `a1`: no `{absent.path}`\n" in missing_runs([there, absent])


@pytest.mark.parametrize("text", ["", "a", "a=", "=b", "runs/a/metrics_epoch050.json"])
def test_not_a_result(text):
    with pytest.raises(InputError, match=f"'{text}': expected setting=runs/<run>/metrics_epoch"):
        parse_result(text)


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_result("a=~/runs/x/m.json").path == tmp_path / "runs/x/m.json"


def test_a_broken_file_does_not_count_as_missing(tmp_path):
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(InputError, match=r"m\.json: not a metrics file"):
        parse_result(f"a={tmp_path / 'm.json'}")


def test_by_hand(tmp_path):
    there, absent = result(tmp_path, "a", "a0", 0.5), result(tmp_path, "a", "a1", None)
    outputs = ["--tsv", tmp_path / "s.tsv", "--markdown", tmp_path / "s.md"]
    outputs += ["--html", tmp_path / "s.html"]
    results = [f"a={there.path}", f"a={absent.path}"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *outputs, *results], capture_output=True, text=True, check=True
    )
    assert "1 of 2 runs are done" in done.stderr
    assert done.stdout.rstrip() == (tmp_path / "s.md").read_text().rstrip()
    assert "| a       | 1 of 2 |" in done.stdout
    assert (tmp_path / "s.tsv").read_text().count("\n") == 3
    assert "<tr>\n<td>a</td>" in (tmp_path / "s.html").read_text()

"""The stages' command lines: help without PyTorch, one sentence and exit code 2 for bad input."""

import argparse
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from example_files import run_parts
from gcdflow import cli
from gcdflow.cli import (
    DEFAULT_CONFIG,
    add_settings_arguments,
    available_threads,
    read_settings,
    run_stage,
    stage_parser,
    whole_number,
)
from gcdflow.config.runs import load_runs
from gcdflow.config.settings import BenchmarkSettings, Dataset, DigitsSettings, RunSettings
from gcdflow.errors import InputError
from gcdflow.files.formats import PseudoLabels, Split, Truth
from gcdflow.planning.parameters import result_settings
from stage_processes import in_process

SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"
STAGES = ["settings", "dataset", "train", "features", "cluster", "evaluate"]
STAGES += ["report", "heatmap", "curves", "photographs", "added", "predict"]
STAGES += ["estimate", "baseline"]
# Runs a script like `python script …`, then prints the heavy modules that it imported.
PROBE = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, __import__("os").path.dirname(sys.argv[0]))
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("imported:", sorted({"torch", "numba", "sklearn"} & sys.modules.keys()))
"""


def stage(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", PROBE, SCRIPTS / f"{name}.py", *arguments]
    return subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False
    )


def imported(result: subprocess.CompletedProcess) -> set[str]:
    (line,) = re.findall(r"^imported: (.*)$", result.stdout, re.MULTILINE)
    return set(re.findall(r"\w+", line))


def sentence(result: subprocess.CompletedProcess) -> str:
    """The error sentence of a stage for bad input."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1
    return result.stderr.strip()


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["digits", "photos", "cifar100-15way-trees"])
def test_all_settings_of_a_run_are_written(tmp_path, run):
    result = stage("settings", "--run", run, "--output", "sub/config.yaml", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "torch" not in imported(result)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["config.yaml"]
    written = yaml.safe_load((tmp_path / "sub/config.yaml").read_text())
    settings = load_runs(DEFAULT_CONFIG)[run]
    left_out = {"gpus", "baselines"}
    left_out |= {"objective"} if settings.objective.name == "contrastive" else set()
    assert written.keys() == RunSettings.model_fields.keys() - left_out
    assert RunSettings.model_validate(written) == settings
    # The call of the rule gives equal bytes.
    result = stage(
        "settings", "--settings", result_settings(settings), "--output", "c", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "c").read_bytes() == (tmp_path / "sub/config.yaml").read_bytes()


def test_bad_settings_leave_the_old_file(tmp_path):
    (tmp_path / "c.yaml").write_text("old")
    result = stage("settings", "--settings", '{"sed": 1}', "--output", "c.yaml", cwd=tmp_path)
    assert sentence(result) == "settings.py: error: --settings: unknown key 'sed'"
    assert (tmp_path / "c.yaml").read_text() == "old"


# -- help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STAGES)
def test_help_is_quick_and_complete(tmp_path, name):
    result = stage(name, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr == ""
    assert imported(result) == set()
    assert result.stdout.startswith(f"usage: {name}.py")
    assert f"python workflow_scripts/{name}.py" in result.stdout  # an example
    assert "default: None" not in result.stdout


@pytest.mark.parametrize(
    ("name", "flag", "value"),
    [
        ("cluster", "--threads", "0"),
        ("evaluate", "--threads", "many"),
    ],
)
def test_flags_are_checked_before_anything_is_read(tmp_path, name, flag, value):
    result = stage(name, flag, value, cwd=tmp_path)
    assert result.returncode == 2
    assert imported(result) == set()
    assert f"{name}.py: error: argument {flag}: '{value}' is not a " in result.stderr


# -- whole stages ----------------------------------------------------------------------------------


def test_dataset(tmp_path):
    settings = {"name": "digits", "old_classes": [1, 2]}
    result = stage(
        "dataset",
        f"--settings={json.dumps(settings)}",
        "--split=a/split.npz",
        "--truth=a/truth.npz",
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert imported(result) == set()
    split, truth = Split.load(tmp_path / "a/split.npz"), Truth.load(tmp_path / "a/truth.npz")
    assert split.old_class_names.tolist() == ["1", "2"]
    assert len(truth.class_names) == 10
    last = result.stderr.splitlines()[-1]
    assert "a/split.npz: digits: 1797 samples" in last
    assert f"({split.labelled_mask.sum()} labelled), 10 classes (2 old)" in last


@pytest.fixture
def clustered(tmp_path) -> Path:
    """A folder with features and the truth."""
    for name, part in run_parts().items():
        part.save(tmp_path / f"{name}.npz")
    return tmp_path


def test_cluster_evaluate_and_report_without_torch(clustered):
    grid = ("--k", "3:5:2", "--percentile", "50", "--threads", "1")
    paths = ("--features", "features.npz", "--output", "p.npz", "--grid-table", "g.tsv")
    result = stage("cluster", *paths, *grid, "--log-dir", "log", cwd=clustered)
    assert result.returncode == 0, result.stderr
    assert "torch" not in imported(result)
    pseudo = PseudoLabels.load(clustered / "p.npz")
    assert len(pseudo.indices) == 32
    assert len((clustered / "g.tsv").read_text().splitlines()) == 3
    last = result.stderr.splitlines()[-1]
    k = pseudo.best_params["k"]
    assert f"p.npz: {pseudo.n_clusters} clusters of 32 samples, core ratio 0.50, k={k}" in last
    assert last.endswith(", 0.0% of labelled samples against their labels")

    arguments = ("--features", "features.npz", "--pseudo-labels", "p.npz", "--truth", "truth.npz")
    result = stage("evaluate", *arguments, "--output", "m.json", "--log-dir", "log", cwd=clustered)
    assert result.returncode == 0, result.stderr
    assert "torch" not in imported(result)
    metrics = json.loads((clustered / "m.json").read_text())
    assert metrics["epoch"] == 12
    assert metrics["transductive"]["all"] > 0.5
    assert metrics["inductive"]["all"] > 0.5
    assert re.search(r"m\.json: transductive all \d+\.\d old .*inductive", result.stderr)
    assert len(list((clustered / "log").iterdir())) == 2

    result = stage("report", "--run", "x", "--output", "r.md", "m.json", cwd=clustered)
    assert result.returncode == 0, result.stderr
    assert imported(result) == set()
    text = (clustered / "r.md").read_text()
    assert text.startswith("# x\n")
    assert "| 012" in text.replace("|   012", "| 012")
    assert "against labels, the labelled images in a cluster" in text
    assert "Warning" not in text
    assert text in result.stdout

    result = in_process("report", "--run", "x", "--output", "r.html", "m.json", cwd=clustered)
    assert result.returncode == 0, result.stderr
    assert '<td style="text-align: right;">012</td>' in (clustered / "r.html").read_text()

    (clustered / "m.json").write_text(json.dumps(metrics | {"against_labels": 0.2}))
    result = in_process("report", "--run", "x", "--output", "r.html", "m.json", cwd=clustered)
    assert result.returncode == 0, result.stderr
    assert "<ul>\n<li>Warning: the clusters of epoch 012 contradict" in (
        (clustered / "r.html").read_text()
    )


@pytest.fixture
def refusal(tmp_path):
    """The error sentence of a stage for bad input, run in an empty folder in this process."""

    def call(name: str, *arguments: str) -> str:
        done = in_process(name, *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        return done.stderr

    return call


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("dataset", "--run nobody --split s --truth t", "there is no run 'nobody' in the config"),
        ("dataset", "--run x --config c.yaml --split s --truth t", "c.yaml: cannot be read"),
        ("dataset", "--settings { --split s --truth t", "--settings: not JSON text"),
        ("dataset", "--settings [] --split s --truth t", "--settings: []: input should be a"),
        ("dataset", '--settings {"nam":1} --split s --truth t', "--settings: key 'name' is mis"),
        ("dataset", '--settings {"name":"cars"} --split s --truth t', "--settings: key 'name' is "),
        ("dataset", '--settings {"name":"cub"} --split s --truth t', "dataset.root: no images of"),
        ("cluster", "--features absent.npz --output p.npz", "absent.npz: no such file"),
        ("evaluate", "--features x --pseudo-labels p --truth t --output m", "x: no such file"),
        ("report", "--run x --output r.md absent.json", "absent.json: not a metrics file"),
        ("estimate", "--features x --output e.json", "x: no such file"),
        ("train", "--run digits --split x --output c.pt --stop-at-epoch 1", "x: no such file"),
        ("features", "--checkpoint x --split s.npz --output f.npz", "x: no such checkpoint"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, refusal, name, arguments, message):
    assert refusal(name, *arguments.split(" ")).startswith(f"{name}.py: error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written(tmp_path, refusal):
    (tmp_path / "file").write_text("")
    settings = ("--settings", '{"name": "digits"}')
    said = refusal("dataset", *settings, "--split", "s.npz", "--truth", "file/t.npz")
    assert said.startswith("dataset.py: error: file/t.npz: cannot be written (")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- the pieces ------------------------------------------------------------------------------------


def run(monkeypatch, main) -> None:
    monkeypatch.setattr(sys, "argv", ["stage.py"])
    monkeypatch.setattr(logging, "basicConfig", lambda **options: None)
    run_stage(main, argparse.ArgumentParser(prog="stage.py"))


def test_input_errors_become_one_sentence(monkeypatch, capsys):
    def main(arguments):
        raise InputError("x.npz: found 1, expected 2")

    with pytest.raises(SystemExit) as info:
        run(monkeypatch, main)
    assert info.value.code == 2
    assert capsys.readouterr().err == "stage.py: error: x.npz: found 1, expected 2\n"


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_interruption_is_no_traceback(monkeypatch, capsys, signum, status):
    with pytest.raises(SystemExit) as info:
        run(monkeypatch, lambda arguments: os.kill(os.getpid(), signum))
    assert info.value.code == status
    assert capsys.readouterr().err == f"stage.py: interrupted by {signum.name}\n"


def test_bugs_keep_their_traceback_and_end_the_process(monkeypatch, capsys):
    def main(arguments):
        raise ValueError("a bug")

    monkeypatch.setattr(os, "_exit", sys.exit)  # this process must continue
    with pytest.raises(SystemExit) as info:
        run(monkeypatch, main)
    assert info.value.code == 70
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n")
    assert said.endswith("\nValueError: a bug\nstage.py: error: ValueError: a bug (unexpected)\n")


def test_settings_of_a_run_or_as_json(tmp_path):
    (tmp_path / "c.yaml").write_text("runs: {a: {dataset: {name: digits, seed: 4}}}")
    parser = stage_parser("text")
    add_settings_arguments(parser)

    def read(*arguments):
        parsed = parser.parse_args(arguments)
        return read_settings(parsed, Dataset, lambda run: run.dataset)

    by_name = read("--run", "a", "--config", str(tmp_path / "c.yaml"))
    assert by_name == DigitsSettings(seed=4)
    assert read("--settings", by_name.model_dump_json()) == by_name
    assert read("--settings", RunSettings().dataset.model_dump_json()) == BenchmarkSettings()
    for wrong in ((), ("--run", "a", "--settings", "{}")):
        with pytest.raises(SystemExit):
            read(*wrong)


def test_paths_may_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    parser = stage_parser("text")
    parser.add_argument("--output", type=Path)
    parser.add_argument("metrics", type=Path, nargs="*")
    parsed = parser.parse_args(["--output=~/x.npz", "~/a.json", "b/~/c", "~nobody-here/d", "~"])
    assert parsed.output == Path("/home/me/x.npz")
    assert list(map(str, parsed.metrics)) == [
        "/home/me/a.json",
        "b/~/c",
        "~nobody-here/d",
        "/home/me",
    ]


LOG = """
import logging
from gcdflow.cli import run_stage, stage_parser
def main(arguments):
    for name in ("timm.layers.pos_embed", "PIL", "gcdflowers", "gcdflow.training.segment", None):
        logging.getLogger(name).info("news of %s", name)
        logging.getLogger(name).warning("warning of %s", name)
    logging.error("error\\nof %s", "\\033")
run_stage(main, stage_parser(None))
"""


def test_of_libraries_only_warnings_are_logged_and_each_in_a_line():
    command = [sys.executable, "-c", LOG]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert [line.partition(" ")[2] for line in done.stderr.splitlines()] == [
        "warning: warning of timm.layers.pos_embed",
        "warning: warning of PIL",
        "warning: warning of gcdflowers",
        "news of gcdflow.training.segment",
        "warning: warning of gcdflow.training.segment",
        "news of None",
        "warning: warning of None",
        r"error\nof \x1b",
    ]


SHOW = """
import sys
from gcdflow.cli import run_stage, show, stage_parser
def main(arguments):
    show("a table")
    print("the end", file=sys.stderr)
run_stage(main, stage_parser(None))
"""


@pytest.mark.parametrize(
    ("output", "status", "said"),
    [
        ("| true", 0, "the end"),
        (">&-", 0, "the end"),
        (
            "> /dev/full",
            2,
            "-c: error: standard output: cannot be written (No space left on device)",
        ),
    ],
)
def test_a_closed_pipe_is_no_error(output, status, said):
    # The reader is gone before the table is printed.
    command = f'set -o pipefail; (sleep 0.1; exec "$0" -c "$1") {output}'
    result = subprocess.run(
        ["bash", "-c", command, sys.executable, SHOW],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status
    assert result.stderr.startswith(said)
    assert result.stderr.count("\n") == 1


def test_whole_number():
    assert whole_number(1)("12") == 12
    assert whole_number(0)("0") == 0
    assert whole_number(1)("050") == 50  # an epoch, as in file names
    for text in ("0", "-3", "1.5", "", "x", "1e3"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not a whole number fr"):
            whole_number(1)(text)


def test_a_wrong_grid_is_one_sentence():
    parser = argparse.ArgumentParser()
    cli.add_grid_arguments(parser)
    for arguments, said in (
        (["--k", "5:"], "the grid: k: '5:' is not a range 'first:last"),
        (["--k", "0:3"], "the grid: k: '0:3' holds 0, expected 1 or more"),
        (["--percentile", "50,101"], "the grid: percentile: '50,101' holds 101, expected 0 to 100"),
        (["--w-mod", "-1"], "the grid: key 'w_mod' is -1.0"),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            cli.grid_of(parser.parse_args(arguments))


def test_available_threads():
    assert available_threads() >= 1

"""Snakemake's plans after files or settings have changed: existing files are reused."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml
from snakemake_runs import ROOT, copied_workflow, make, planned, snakemake

RUN = "runs/digits-smoke"


def changing(section: str, **values: object) -> dict:
    """A configuration that changes one section of the digits-smoke run."""
    return {"runs": {"digits-smoke": {section: values}}}


def whole_run(epochs: int) -> dict[str, int]:
    """Number of jobs of each rule for the report of a run with this many checkpoint epochs."""
    stages = dict.fromkeys(("train", "features", "cluster", "evaluate"), epochs)
    return {"settings": 1, "dataset": 1, **stages, "report": 1}


def test_a_finished_run_needs_no_jobs(finished_run: Path):
    assert planned(finished_run, f"{RUN}/report.md") == {}


def test_a_run_from_nothing(tmp_path: Path):
    assert planned(tmp_path, f"{RUN}/report.md") == whole_run(epochs=3)
    first = {"dataset": 1, "train": 1, "features": 1, "cluster": 1}
    assert planned(tmp_path, f"{RUN}/pseudo_epoch002.npz") == first


def test_the_digits_run_plans_the_main_job(tmp_path: Path):
    assert planned(tmp_path, "runs/digits/report.md") == whole_run(epochs=4)


def test_missing_pseudo_labels_are_clustered_again_without_training(finished_copy: Path):
    pseudo = finished_copy / RUN / "pseudo_epoch003.npz"
    before = hashlib.sha256(pseudo.read_bytes()).hexdigest()
    pseudo.unlink()
    assert planned(finished_copy, f"{RUN}/pseudo_epoch003.npz") == {"cluster": 1}
    make(finished_copy, f"{RUN}/pseudo_epoch003.npz")
    assert hashlib.sha256(pseudo.read_bytes()).hexdigest() == before
    # The bytes are equal, so files that were made from them stay valid.
    assert "train" not in planned(finished_copy, f"{RUN}/ckpt_epoch004.pt")


def test_missing_features_come_from_the_checkpoint_of_their_epoch(finished_copy: Path):
    for name in ("pseudo_epoch003.npz", "features_epoch003.npz"):
        (finished_copy / RUN / name).unlink()
    plan = planned(finished_copy, f"{RUN}/pseudo_epoch003.npz")
    assert plan == {"features": 1, "cluster": 1}


def test_missing_features_alone_re_run_nothing(finished_copy: Path):
    for path in (finished_copy / RUN).glob("features_epoch*.npz"):
        path.unlink()
    assert planned(finished_copy, f"{RUN}/ckpt_epoch004.pt") == {}


def test_a_later_checkpoint_reuses_existing_segments(finished_copy: Path):
    for path in (finished_copy / RUN).glob("*_epoch004*"):
        path.unlink()
    assert planned(finished_copy, f"{RUN}/ckpt_epoch004.pt") == {"train": 1}
    plan = planned(finished_copy, f"{RUN}/pseudo_epoch004.npz")
    assert plan == {"train": 1, "features": 1, "cluster": 1}


def test_another_grid_re_runs_nothing_before_the_first_clustering(finished_run: Path):
    plan = planned(finished_run, f"{RUN}/ckpt_epoch004.pt", changes=changing("clustering", k="5,7"))
    assert plan == {"cluster": 2, "train": 2, "features": 1}
    assert planned(
        finished_run, f"{RUN}/pseudo_epoch002.npz", changes=changing("clustering", k="5,7")
    ) == {"cluster": 1}


def test_other_pseudo_settings_do_not_touch_the_warm_up(finished_run: Path):
    changes = changing("pseudo", loss="prototypical")
    assert planned(finished_run, f"{RUN}/pseudo_epoch002.npz", changes=changes) == {}
    assert planned(finished_run, f"{RUN}/ckpt_epoch003.pt", changes=changes) == {"train": 1}


def test_more_total_epochs_train_everything_again(finished_run: Path):
    """The cosine schedule and gamma end at total_epochs: every epoch's learning rate changes."""
    changes = changing("schedule", total_epochs=6)
    plan = planned(finished_run, f"{RUN}/ckpt_epoch006.pt", changes=changes)
    assert plan == {"train": 5, "features": 4, "cluster": 4}


@pytest.mark.parametrize(
    ("section", "values", "plan"),
    [
        ("training", {"lr": 0.05}, {"train": 1, "features": 1, "cluster": 1}),
        ("dataset", {"seed": 1}, {"dataset": 1, "train": 1, "features": 1, "cluster": 1}),
        ("schedule", {"refresh_interval": 2}, {}),
    ],
)
def test_a_setting_re_runs_the_rules_that_use_it(
    finished_run: Path, section: str, values: dict, plan: dict
):
    changes = changing(section, **values)
    assert planned(finished_run, f"{RUN}/pseudo_epoch002.npz", changes=changes) == plan


def test_more_gpus_re_run_nothing(finished_copy: Path, tmp_path: Path):
    two = {"runs": {"digits-smoke": {"gpus": 2}}}
    assert planned(finished_copy, f"{RUN}/report.md", changes=two) == {}
    target = f"{RUN}/features_epoch002.npz"
    for limit, expected in (((), "2"), (("--resources", "gpu=1"), "1")):
        arguments = ("--dry-run", "--printshellcmds", "--cores", "32", *limit, "--", target)
        result = snakemake(tmp_path, *arguments, changes=two)
        output = result.stdout + result.stderr
        assert re.findall(r"--threads (\d+) --gpus (\d+)", output) == [("16", expected)], output


def test_a_gpu_for_the_clustering_re_runs_nothing(finished_copy: Path, tmp_path: Path):
    on_gpu = changing("clustering", device="cuda")
    assert planned(finished_copy, f"{RUN}/report.md", changes=on_gpu) == {}
    target = f"{RUN}/pseudo_epoch002.npz"
    for changes, expected in ((on_gpu, "1"), (None, "0")):
        result = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--", target, changes=changes)
        output = result.stdout + result.stderr
        found = re.findall(r"stage cluster .* --threads \d+ --gpus (\d+)", output)
        assert found == [expected], output


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copied_workflow(tmp_path / "project")


def test_other_code_in_another_place_re_runs_nothing(finished_run: Path, project: Path):
    assert planned(finished_run, f"{RUN}/report.md", project=project) == {}
    rules = list((project / "rules").glob("*.smk"))
    for path in rules:
        path.write_text(path.read_text().replace('"stage ', '"echo changed; stage '))
    assert sum("echo changed" in path.read_text() for path in rules) >= 6
    assert planned(finished_run, f"{RUN}/report.md", project=project) == {}


def test_another_result_version_re_runs_the_rule(finished_run: Path, project: Path):
    parameters = project / "workflow_scripts/gcdflow/planning/parameters.py"
    parameters.write_text(re.sub(r'("cluster"): \d+', r"\1: 99", parameters.read_text(), count=1))
    plan = planned(finished_run, f"{RUN}/pseudo_epoch003.npz", project=project)
    assert plan == {"cluster": 2, "train": 1, "features": 1}


# -- displays of the DAG ---------------------------------------------------------------------------


def printed(directory: Path, *arguments: str) -> str:
    """Run Snakemake, which must succeed, and return its standard output."""
    result = snakemake(directory, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_dry_run_shows_rule_inputs_outputs_and_wildcards_of_each_job(tmp_path: Path):
    result = snakemake(tmp_path, "--dry-run", "--", f"{RUN}/report.md", f"{RUN}/grid_epoch003.png")
    output = result.stdout + result.stderr
    jobs = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", output, re.MULTILINE)
    shown = {rule: [job for name, job in jobs if name == rule] for rule, _ in jobs}
    assert {rule: len(found) for rule, found in shown.items()} == whole_run(3) | {"heatmap": 1}
    for rule, job in jobs:
        assert "    output: runs/digits-smoke/" in job, rule
        assert "    log: logs/digits-smoke/" in job, rule
        assert "    wildcards: run=digits-smoke" in job, rule
    inputs = "split.npz", "ckpt_epoch002.pt", "pseudo_epoch002.npz"
    (guided,) = (job for job in shown["train"] if "epoch=003" in job)
    assert f"    input: {', '.join(f'{RUN}/{name}' for name in inputs)}\n" in guided
    assert f"    output: {RUN}/ckpt_epoch003.pt\n" in guided


def test_the_list_of_rules_explains_each(tmp_path: Path):
    lines = printed(tmp_path, "--list-rules").splitlines()
    explained = dict(re.fullmatch(r"(\w+) \((.+\.)\)", line).groups() for line in lines)
    texts = [path.read_text() for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]]
    rules = re.findall(r"^rule (\w+):$", "".join(texts), re.MULTILINE)
    derived = re.findall(r"^use rule \w+ as (\w+) with:$", "".join(texts), re.MULTILINE)
    assert sorted(explained) == sorted([*rules, *derived])
    assert len({explained[rule] for rule in rules}) == len(rules)
    assert "message:" not in "".join(texts)  # it would hide everything else in a dry run


def test_rules_of_rules_are_local_where_those_are():
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    blocks = re.split(r"^(?=(?:use )?rule \w+)", text, flags=re.MULTILINE)[1:]
    heads = [re.match(r"(?:use rule (\w+) as|rule) (\w+)", block).groups() for block in blocks]
    local = {name: "localrule: True" in text for (_, name), text in zip(heads, blocks, strict=True)}
    derived = {name: base for base, name in heads if base}
    assert local["report"]
    assert derived["report_page"] == "report"
    assert all(local[name] == local[base] for name, base in derived.items())


def test_graphs_and_the_summary_of_files(tmp_path: Path):
    graph = printed(tmp_path, "--rulegraph", "dot", "--", f"{RUN}/report.md")
    assert graph.startswith("digraph")
    assert set(re.findall(r'label = "(\w+)', graph)) == set(whole_run(3))
    files = printed(tmp_path, "--filegraph", "--", f"{RUN}/metrics_epoch002.json")
    assert files.startswith("digraph")
    assert "/truth.npz" in files
    table = printed(tmp_path, "--summary", "--", f"{RUN}/report.md").splitlines()
    rows = {row.split("\t")[0]: row.split("\t")[2] for row in table[1:]}
    assert rows[f"{RUN}/report.md"] == "report"
    assert rows[f"{RUN}/ckpt_epoch003.pt"] == "train"


def test_only_evaluation_takes_the_truth(tmp_path: Path):
    changes = {"runs": {"digits-smoke": {"baselines": ["kmeans", "hdbscan_bcubed"]}}}
    arguments = ("--dry-run", "--printshellcmds", "--", f"{RUN}/report.md", f"{RUN}/gallery.html")
    result = snakemake(tmp_path, *arguments, changes=changes)
    commands = re.findall(
        r"^Shell command: .*; stage (\w+) (.*)$", result.stdout + result.stderr, re.MULTILINE
    )
    assert len(commands) == 15 + 3 * 3 + 2
    of_truth = {stage for stage, flags in commands if "truth" in flags}
    assert of_truth == {"dataset", "evaluate", "baseline"}
    estimates = [flags for stage, flags in commands if stage == "estimate"]
    assert len(estimates) == 3, "one for each epoch"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            f"{RUN}/pseudo_epoch007.npz",
            "run 'digits-smoke' has no checkpoint at epoch 007; its checkpoint epochs are "
            "002, 003, 004",
        ),
        (f"{RUN}/ckpt_epoch001.pt", "its checkpoint epochs are 002, 003, 004"),
        ("runs/nobody/report.md", "there is no run 'nobody' in the configuration (runs: digits"),
    ],
)
def test_impossible_targets(tmp_path: Path, target: str, message: str):
    result = snakemake(tmp_path, "--dry-run", "--", target)
    assert result.returncode != 0
    assert message in result.stdout + result.stderr


def test_a_bad_configuration_names_the_key(tmp_path: Path):
    changes = changing("training", learning_rate=0.1)
    result = snakemake(tmp_path, "--dry-run", "--", f"{RUN}/report.md", changes=changes)
    assert result.returncode != 0
    expected = "runs.digits-smoke: unknown key 'training.learning_rate'"
    assert expected in result.stdout + result.stderr


def test_broken_yaml_is_named_with_its_line(tmp_path: Path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("runs:\n  a: {inherit: digits\n  b: {}\n")
    result = snakemake(tmp_path, "--dry-run", "--", f"{RUN}/report.md")
    assert result.returncode != 0
    output = result.stdout + result.stderr
    assert "config/config.yaml: while parsing a flow mapping" in output
    assert "line 3, column 4" in output


def test_a_configuration_that_another_program_wrote(tmp_path: Path):
    """JSON is YAML, but libyaml refuses emoji as JSON writes them."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["runs"]["photos"]["dataset"]["folder"] = "\N{CAMERA}"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(json.dumps(config))
    assert planned(tmp_path, f"{RUN}/report.md")


def test_cub_plans_without_images_and_names_their_folder(tmp_path: Path):
    rules = ("dataset", "weights", "train", "features", "cluster")
    assert planned(tmp_path, "runs/cub/pseudo_epoch050.npz") == dict.fromkeys(rules, 1)
    result = snakemake(tmp_path, "--cores", "2", "--", "runs/cub/report.md")
    assert result.returncode != 0
    sentence = (
        "no images of dataset 'cub' at data/CUB_200_2011 (expected data/CUB_200_2011/images.txt)"
    )
    assert result.stderr.splitlines()[-1].startswith(f"error: dataset.root: {sentence}; unpack")
    assert result.stderr.count("no images of dataset 'cub'") == 1
    assert not (tmp_path / "logs").exists(), "no job was started"
    assert planned(tmp_path, f"{RUN}/report.md"), "other runs need no birds"


def test_missing_images_stop_no_other_run_that_is_kept_going_and_are_not_retried(tmp_path: Path):
    targets = ["runs/cub/split.npz", f"{RUN}/split.npz"]
    result = snakemake(tmp_path, "--cores", "2", "--keep-going", "--", *targets)
    assert result.returncode == 1
    assert "Trying to restart" not in result.stdout + result.stderr
    assert (tmp_path / targets[1]).exists()
    last = result.stderr.splitlines()[-1]
    assert last.startswith(
        "dataset.py: error: dataset.root: no images of dataset 'cub' at data/CUB_200_2011"
    )
    assert (tmp_path / "logs/cub/dataset.log").read_text().count(last) == 1


def test_images_that_are_gone_are_not_missed_once_they_are_listed(finished_copy: Path):
    """Digits with the name of another dataset: nothing lists its images again."""
    changes = {"runs": {"digits-smoke": {"dataset": {"name": "cub"}}}}
    target = f"{RUN}/split.npz"
    options = ("--rerun-triggers", "mtime", "--cores", "2")
    result = snakemake(finished_copy, *options, "--", target, changes=changes)
    assert result.returncode == 0, result.stderr
    (finished_copy / target).unlink()
    assert snakemake(finished_copy, *options, "--", target, changes=changes).returncode != 0


def test_numbers_of_classes_that_yaml_reads_as_others(tmp_path: Path):
    """Snakemake reads the file itself and passes on 010 as 8."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("runs: {mine: {inherit: digits, dataset: {old_classes: [1, 010]}}}")
    result = snakemake(tmp_path, "--dry-run", "--configfile", str(mine))
    assert result.returncode != 0
    expected = "mine.yaml, line 1: old_classes: YAML reads 010 as the number 8; write a class's"
    assert expected in result.stdout + result.stderr


def test_another_limit_of_bad_steps_trains_nothing(finished_copy: Path):
    changes = changing("training", skip_bad_steps=3)
    assert "train" not in planned(finished_copy, f"{RUN}/report.md", changes=changes)

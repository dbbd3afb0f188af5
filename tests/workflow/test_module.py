"""The workflow as a module of another one, through a link, and from another folder."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from snakemake_runs import ROOT, copied_workflow, planned, snakemake

RUN = "runs/digits-smoke"
IMPORT = """
module {name}:
    snakefile: {snakefile}
    config: config
    {prefix}
use rule * from {name} as {name}_*
"""
OWN_RULE = """
shell.prefix("echo by my own prefix; ")
rule mine:
    input: {input!r}
    output: "mine.txt"
    shell: "trap -p TERM >{{output}}; cat {{input}} >>{{output}}"
"""


def importing(folder: Path, *parts: str) -> Path:
    """Another workflow with the configuration of this one."""
    folder.mkdir()
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "Snakefile").write_text("\n".join(parts))
    return folder


def module(snakefile: Path, name: str = "gcd", prefix: str = "") -> str:
    line = f'prefix: "{prefix}"' if prefix else ""
    return IMPORT.format(name=name, snakefile=json.dumps(str(snakefile)), prefix=line)


def test_stages_run_from_a_checkout_with_any_name_and_with_a_prefix(tmp_path: Path):
    elsewhere = copied_workflow(tmp_path / 'it\'s a "check out" for $HOME') / "Snakefile"
    target = f"sub/{RUN}/ckpt_epoch002.pt"
    ours = importing(
        tmp_path / "importing", module(elsewhere, prefix="sub"), OWN_RULE.format(input=target)
    )
    result = snakemake(ours, "--cores", "2", "--", "mine", "sub/results/summary.md", project=ours)
    assert result.returncode == 0, result.stdout + result.stderr
    made = {str(p.relative_to(ours)) for p in ours.rglob("*") if ".snakemake" not in p.parts}
    assert {target, "sub/results/summary.md", f"sub/{RUN}/split.npz", "mine.txt"} <= made
    assert f"sub/{RUN}/log/events.out.tfevents.epoch001-002.train" in made
    assert not any(name.startswith(("runs", "logs", "results")) for name in made)
    # The rules of the importing workflow are unchanged.
    assert "by my own prefix" in result.stdout
    assert (ours / "mine.txt").read_bytes() == (ours / target).read_bytes()


def test_another_workflow_keeps_its_default_target(tmp_path: Path):
    own = OWN_RULE.format(input=f"{RUN}/metrics_epoch002.json")
    ours = importing(tmp_path / "importing", own, module(ROOT / "Snakefile"))
    stages = ("dataset", "train", "features", "cluster", "evaluate")
    plan = {f"gcd_{stage}": 1 for stage in stages}
    assert planned(tmp_path, project=ours) == {"mine": 1, **plan}
    plan = planned(tmp_path, f"{RUN}/features_epoch002.npz", project=ours)
    assert plan == {"gcd_dataset": 1, "gcd_train": 1, "gcd_features": 1}
    result = snakemake(
        tmp_path,
        f"--workflow-profile={ROOT / 'profiles/default'}",
        "--dry-run",
        "--printshellcmds",
        "--",
        "mine",
        project=ours,
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    assert f"workflow specific profile {ROOT}/profiles/default" in output
    for stage in ("train", "cluster", "evaluate"):
        assert f"; stage {stage} " in output
    assert output.count(f"--log-dir {RUN}/log ") == 3


def test_two_imports_of_one_checkout_and_none_of_another(tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to(ROOT)
    ours = importing(
        tmp_path / "twice",
        module(ROOT / "Snakefile", "a", "a"),
        module(link / "Snakefile", "b", "b"),
    )
    targets = [f"{folder}/{RUN}/split.npz" for folder in "ab"]
    assert planned(tmp_path, *targets, project=ours) == {"a_dataset": 1, "b_dataset": 1}
    other = copied_workflow(tmp_path / "other")
    ours = importing(
        tmp_path / "both",
        module(ROOT / "Snakefile", "a", "a"),
        module(other / "Snakefile", "b", "b"),
    )
    result = snakemake(tmp_path, "--dry-run", project=ours)
    assert result.returncode != 0
    sentence = f"the gcdflow of {ROOT} is in use already, so that of {other} cannot be"
    assert sentence in result.stdout + result.stderr


def test_a_linked_snakefile_in_a_folder_without_configuration(tmp_path: Path):
    (tmp_path / "Snakefile").symlink_to(ROOT / "Snakefile")
    assert planned(tmp_path, f"{RUN}/split.npz", project=tmp_path) == {"dataset": 1}
    changes = {"runs": {"complete": {}}}  # the user's own complete configuration
    arguments = ("--dry-run", "--", f"{RUN}/split.npz")
    result = snakemake(tmp_path, *arguments, changes=changes, project=tmp_path)
    assert "there is no run 'digits-smoke' in the configuration (runs: complete)" in (
        result.stdout + result.stderr
    )


def test_from_a_repository_that_is_not_checked_out(tmp_path: Path):
    repository = copied_workflow(tmp_path / "repository")
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--message", "x"],
        ["tag", "v1"],
    ):
        subprocess.run(["git", "-C", repository, *command], check=True)
    ours = importing(
        tmp_path / "importing",
        f'module gcd:\n    snakefile: "git+file://{repository}/Snakefile@v1"\n    config: config\n'
        "use rule * from gcd as gcd_*\n",
    )
    result = snakemake(tmp_path, "--dry-run", project=ours)
    assert result.returncode != 0
    assert "gcdflow runs the stages of a checkout; clone its repository" in (
        result.stdout + result.stderr
    )


@pytest.mark.parametrize("name", ["a {brace}", "}"])
def test_a_path_that_snakemake_cannot_take_is_one_sentence(tmp_path: Path, name: str):
    result = snakemake(tmp_path, "--dry-run", project=copied_workflow(tmp_path / name))
    assert result.returncode != 0
    assert "Snakemake takes braces in a path for wildcards" in result.stdout + result.stderr

"""Duplicated facts agree: versions, defaults, shipped runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import gcdflow
import pytest
import yaml
from gcdflow.config.reference import with_defaults
from gcdflow.config.runs import load_runs
from gcdflow.config.settings import RunSettings
from gcdflow.files.tables import with_tables
from snakemake.cli import get_argument_parser

ROOT = Path(__file__).parents[1]
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line
)


def normalised(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda p: p.stem)
def test_conda_environments_have_the_pinned_versions(path: Path):
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    packages = next(d["pip"] for d in dependencies if isinstance(d, dict))
    found = dict(package.split("==") for package in packages)
    pinned = {name.lower(): version for name, version in PINNED.items()}
    assert {name: pinned.get(name) for name in found} == found


def test_every_dependency_is_pinned_once_and_without_an_address():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = sum(project["optional-dependencies"].values(), project["dependencies"])
    assert {normalised(name) for name in names} <= {normalised(name) for name in PINNED}
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == gcdflow.__version__
    assert citation["license"] == project["license"]


def test_rules_name_environments_that_exist():
    for path in (ROOT / "rules").glob("*.smk"):
        for line in path.read_text().splitlines():
            if "/envs/" in line:
                assert (path.parent / line.strip().strip('"')).is_file(), line


def test_documented_defaults_are_the_defaults():
    text = (ROOT / "config" / "config.yaml").read_text()
    assert with_defaults(text) == text, "run `make config`"
    assert RunSettings.model_validate(yaml.safe_load(text)["defaults"]) == RunSettings()


def test_documented_files_are_the_declared_ones():
    text = (ROOT / "docs" / "contract.md").read_text()
    assert text.count("<!-- table: ") == 16
    assert with_tables(text) == text, "run `make config`"


def test_shipped_runs_are_valid():
    runs = load_runs(ROOT / "config" / "config.yaml")
    assert {"digits", "digits-smoke", "cub"} <= runs.keys()
    assert runs["digits"].checkpoint_epochs() == [50, 75, 100, 125]
    assert len(runs["cub"].checkpoint_epochs()) == 32


WRITTEN = [
    *(ROOT / name for name in ("Makefile", "Snakefile", ".snakemake-workflow-catalog.yml")),
    *(path for name in (".", "docs", "config") for path in (ROOT / name).glob("*.md")),
    *(path for name in ("config", "profiles", "envs") for path in (ROOT / name).rglob("*.yaml")),
    *(path for name in ("rules", "report") for path in (ROOT / name).glob("*.*")),
    *(
        path
        for kind in ("py", "sh", "j2")
        for path in (ROOT / "workflow_scripts").rglob(f"*.{kind}")
    ),
    *(ROOT / "benchmarks").glob("*.py"),
]
# A command line up to its end, a comment or a closing quote; it may have continuation lines.
COMMAND = re.compile(r"(?<![.\w])snakemake ((?:\\\n[ #]*|[^`#\n\\])*)")
TARGET = re.compile(r"…|all|(runs|results|weights)/.*|.*\.(md|html|csv|npz|pt|tsv)")


OPTIONS = get_argument_parser()._option_string_actions


def option_values(command: str) -> dict[str, list[str]]:
    """The words that Snakemake reads as values of each option with many values; targets: ""."""
    found: dict[str, list[str]] = {"": []}
    option, is_single_value = "", False
    for word in command.split():
        if word.startswith("-"):
            nargs = OPTIONS[word].nargs if word in OPTIONS else 0
            option = word if nargs in ("+", "*") else ""
            found.setdefault(option, [])
            is_single_value = nargs in (None, "?")
        elif is_single_value:
            is_single_value = False
        else:
            found[option].append(word)
    return found


def commands() -> list[tuple[str, str]]:
    """All documented command lines of Snakemake, with their files."""
    return [
        (str(path.relative_to(ROOT)), re.sub(r"\\\n[ #]*", " ", match[1]))
        for path in WRITTEN
        for match in COMMAND.finditer(path.read_text())
    ]


def test_no_option_reads_a_target_as_its_value():
    found = commands()
    assert len(found) > 20
    for path, command in found:
        for option, values in option_values(command).items():
            if option:
                assert [v for v in values if TARGET.fullmatch(v)] == [], f"{path}: {command}"


def test_commands_with_a_configuration_name_their_targets_before_it():
    found = [(path, c) for path, c in commands() if "--configfile" in c]
    assert {path for path, _ in found} == {
        *("docs/datasets.md", "docs/workflow.md", "config/study.yaml"),
    }
    for path, command in found:
        before = option_values(command.split("--configfile")[0])[""]
        assert any(map(TARGET.fullmatch, before)), f"{path}: {command}"


def test_the_check_finds_a_target_that_an_option_reads():
    values = option_values("--cores 2 --configfile a.yaml b.yaml runs/a/report.md -n")
    assert values["--configfile"] == ["a.yaml", "b.yaml", "runs/a/report.md"]
    assert option_values("runs/a/report.md --configfile a.yaml")[""] == ["runs/a/report.md"]
    assert option_values("--configfile a.yaml -- all")[""] == ["all"]
    assert option_values("--sdm conda all")["--sdm"] == ["conda", "all"]
    assert option_values("--cores 2 all -n results/x.md")[""] == ["all", "results/x.md"]

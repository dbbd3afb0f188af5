"""What is written down twice agrees: versions, defaults, the runs that are shipped."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml
from gcdflow.config import load_runs
from gcdflow.config_reference import with_defaults
from gcdflow.settings import RunSettings

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
    names = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert {normalised(name) for name in names} <= {normalised(name) for name in PINNED}
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_rules_name_environments_that_exist():
    for path in (ROOT / "rules").glob("*.smk"):
        for line in path.read_text().splitlines():
            if ".yaml" in line:
                assert (path.parent / line.strip().strip('"')).is_file(), line


def test_documented_defaults_are_the_defaults():
    text = (ROOT / "config" / "config.yaml").read_text()
    assert with_defaults(text) == text, "run `make config`"
    assert RunSettings.model_validate(yaml.safe_load(text)["defaults"]) == RunSettings()


def test_shipped_runs_are_valid():
    runs = load_runs(ROOT / "config" / "config.yaml")
    assert {"digits", "digits-smoke", "cub"} <= runs.keys()
    assert runs["digits"].schedule.checkpoint_epochs() == [50, 75, 100, 125]
    assert len(runs["cub"].schedule.checkpoint_epochs()) == 31

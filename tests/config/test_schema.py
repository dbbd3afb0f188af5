"""The JSON schema for editors: up to date, complete, and true to what the workflow accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from gcdflow.config.runs import resolve_runs
from gcdflow.config.schema import config_schema, schema_text
from gcdflow.errors import InputError
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "config" / "config.schema.json"
FILES = sorted((ROOT / "config").glob("*.yaml"))
VALIDATOR = Draft202012Validator(config_schema())


def complaints(configuration: object) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(configuration)]


def test_the_file_is_up_to_date():
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "run `make config`"
    Draft202012Validator.check_schema(json.loads(SCHEMA.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shipped_files_name_the_schema_and_follow_it(path: Path):
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    name = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)[1]
    assert (path.parent / name).resolve() == SCHEMA
    assert complaints(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def examples() -> Iterator[object]:
    """The configurations that the documentation shows."""
    pages = [ROOT / "README.md", ROOT / "config" / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            content = yaml.safe_load(block)
            if {"runs", "sweeps", "defaults", "default_runs"} & set(content):
                yield content


def test_documented_examples_follow_it():
    found = list(examples())
    assert len(found) >= 3
    for example in found:
        assert complaints(example) == [], example


@pytest.mark.parametrize(
    "configuration",
    [
        {"run": {}},
        {"default_runs": "digits"},
        {"defaults": {"sed": 1}},
        {"runs": {"a": {"inherits": "b"}}},
        {"runs": {"a": {"training": {"learning_rate": 0.1}}}},
        {"runs": {"a": {"training": {"lr": "fast"}}}},
        {"runs": {"a": {"training": {"lr": 0}}}},
        {"runs": {"a": {"dataset": {"name": "cub", "superclass": "trees"}}}},
        {"runs": {"a": {"dataset": {"name": "cars"}}}},
        {"runs": {"a": {"dataset": {"superclas": "trees"}}}},
        {"runs": {"a": {"clustering": {"k": 12}}}},
        {"runs": {"a/b": {}}},
        {"sweeps": {"s": {"over": {"dataset.sed": [0, 1]}}}},
        {"sweeps": {"s": {"over": {"seed": 1}}}},
        {"sweeps": {"s": {"inherit": "a"}}},
    ],
)
def test_what_the_workflow_refuses_fails(configuration: dict):
    assert complaints(configuration) != []
    if "default_runs" not in configuration:
        with pytest.raises(InputError):
            resolve_runs({"runs": {}, **configuration})


@pytest.mark.parametrize(
    "settings",
    [
        None,
        {},
        {"inherit": None},
        {"backbone": {"trained_blocks": 3}},
        {"dataset": {"seed": 3}},
        {"dataset": {"name": "photos", "real_classes": ["none"]}},
        {"training": {"lr": 1}, "pseudo": {"gamma_ramp_epochs": None}},
    ],
)
def test_a_run_may_set_any_part(settings: dict | None):
    assert complaints({"runs": {"a": settings}}) == []


def test_every_key_has_a_description_and_a_default():
    schema = config_schema()

    def check(properties: dict[str, dict], where: str) -> None:
        for key, value in properties.items():
            if "$ref" in value:
                value = schema["$defs"][value["$ref"].rpartition("/")[2]] | value
            assert value.get("description"), f"{where}.{key}"
            assert "default" in value, f"{where}.{key}"

    check(schema["properties"], "the file")
    check(schema["$defs"]["run"]["properties"], "a run")
    for name, part in schema["$defs"].items():
        if name != "sweep" and "properties" in part:
            assert part["additionalProperties"] is False, name
            check(part["properties"], name)

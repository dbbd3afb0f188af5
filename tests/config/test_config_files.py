"""The file of the configuration: files that are refused, and what YAML reads as something else."""

from pathlib import Path

import pytest
import yaml
from gcdflow.config.runs import check_text, load_runs, resolve_default_runs, validated
from gcdflow.config.settings import RunSettings
from gcdflow.errors import InputError


def test_shipped_configuration():
    path = Path(__file__).parents[2] / "config" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    runs = load_runs(path)
    assert {"digits", "cub"} <= runs.keys()
    assert validated(RunSettings, config["defaults"], "defaults") == RunSettings()
    assert resolve_default_runs(config, runs)


def test_load_runs(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("defaults: {seed: 2}\nruns:\n  größe: {}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"c\.yaml: run name 'größe' is a folder name"):
        load_runs(path)
    path.write_text("defaults: {seed: 2}\nruns: {x: }\n")
    assert load_runs(path)["x"].seed == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a mapping with 'defaults' and 'runs'"),
        (b"- 1", "expected a mapping with 'defaults' and 'runs'"),
        (b"a: [1", "not valid YAML"),
        (b"a: \xff", "not valid YAML"),
        (b"runs: {a: !!python/object/apply:os.getcwd []}", "not valid YAML"),
    ],
)
def test_bad_file(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"c\.yaml: {message}") as info:
        load_runs(path)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("written", "number"),
    [("010", 8), ("0_1_0", 8), ("1:30", 90), ("-012", -10), ("1_0", 10), ("0x1F", 31)],
)
@pytest.mark.parametrize(
    "text",
    [
        "runs:\n  a: {dataset: {name: cub, old_classes: [3,\n     NUMBER]}}",
        "runs: {}\nsweeps:\n  s: {over: {dataset.old_classes: {x: [NUMBER]}}}",
        "x: &list\n  - NUMBER\nruns: {a: {dataset: {old_classes: *list}}}",
    ],
)
def test_numbers_of_classes_that_yaml_reads_as_others(tmp_path, text, written, number):
    path = tmp_path / "c.yaml"
    path.write_text(text.replace("NUMBER", written))
    expected = rf"c\.yaml, line [23]: old_classes: YAML reads {written} as the number {number}; "
    with pytest.raises(InputError, match=expected + ".* in quotation marks"):
        check_text(path)
    path.write_text(text.replace("NUMBER", f"'{written}'"))
    check_text(path)


def test_loading_checks_the_numbers_of_classes_and_no_others(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("runs: {a: {seed: 010, dataset: {name: cub, old_classes: [0, 7, 10, -1]}}}")
    assert load_runs(path)["a"].dataset.old_classes == [0, 7, 10, -1]
    path.write_text("runs: {a: {dataset: {name: cub, old_classes: [017]}}}")
    with pytest.raises(InputError, match=r"^\S*c\.yaml, line 1: old_classes: YAML reads 017 as"):
        load_runs(path)


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("runs: {a: {seed: 1}}\nruns: {b: {}}\n", "runs", (2, 1)),
        ("runs:\n  a: {seed: 1}\n  b: {}\n  a: {seed: 2}\n", "a", (4, 2)),
        ("runs: {a: {seed: 1, seed: 2}}", "seed", (1, 1)),
    ],
)
def test_a_key_that_occurs_twice_is_not_lost(tmp_path, text, key, lines):
    (tmp_path / "c.yaml").write_text(text)
    expected = rf"c\.yaml, line {lines[0]}: the key '{key}' is in line {lines[1]} already"
    with pytest.raises(InputError, match=expected):
        load_runs(tmp_path / "c.yaml")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"absent.yaml: cannot be read \(No such file"):
        load_runs(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory"):
        load_runs(tmp_path)

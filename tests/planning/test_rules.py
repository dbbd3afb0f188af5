"""What the text of the rules holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from gcdflow.planning import parameters

ROOT = Path(__file__).parents[2]


def test_every_version_is_that_of_a_rule():
    texts = [path.read_text() for path in (ROOT / "rules").glob("*.smk")]
    for stage in parameters.RESULT_VERSIONS:
        assert any(f'RESULT_VERSIONS["{stage}"]' in text for text in texts), stage


@pytest.mark.parametrize("stage", ["train", "views"])
def test_a_stage_that_keeps_its_result_is_told_the_version(stage: str):
    assert "--result-version {params.version}" in (ROOT / f"rules/{stage}.smk").read_text()


@pytest.mark.parametrize(
    ("file", "request_of"),
    [
        ("train", "train"),
        ("views", "views"),
        ("features", "features"),
        ("cluster", "cluster"),
        ("evaluate", "evaluate"),
        ("baseline", "baseline"),
        ("baseline", "estimate"),
    ],
)
def test_a_rule_asks_for_what_its_stage_needs(file: str, request_of: str):
    rules = (ROOT / f"rules/{file}.smk").read_text()
    assert f"job_resources.{request_of}_request)" in rules


def test_rules_whose_stage_loads_images_for_a_network_ask_for_a_gpu():
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for rule in path.read_text().split("\nrule ")[1:]:
            assert ('num_workers="auto"' in rule) <= ("gpu=" in rule and "gpu=0" not in rule), path

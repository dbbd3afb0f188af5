"""Stages import only what they need: a large package costs each of their jobs seconds."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"
HEAVY = {"torch", "torchvision", "timm", "sklearn", "numba", "scipy.stats", "tensorboard"}
HEAVY |= {"matplotlib", "huggingface_hub", "pandas"}
NEEDED = {  # by what a stage imports; timm comes with a backbone of timm, and the hub with it
    "baseline": {"sklearn", "numba", "scipy.stats", "pandas"},
    "classes": {"torch"},
    "estimate": {"sklearn", "numba", "scipy.stats", "pandas"},
    "cluster": {"sklearn", "scipy.stats", "pandas"},  # which scikit-learn imports where it is
    "features": {"torch"},
    "share": {"torch"},
    "train": {"torch"},
    "views": {"torch"},
    "weights": {"torch", "torchvision", "timm", "huggingface_hub"},
}


def modules(path: Path) -> list[str]:
    """The modules of gcdflow that a stage imports, at its beginning or in its main function."""
    tree = ast.parse(path.read_text())
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return sorted({name for name in names if name and name.startswith("gcdflow")})


def stages_by_need() -> list[list[str]]:
    """Stages that may import the same large packages: one process imports their modules in turn."""
    groups: dict[frozenset[str], list[str]] = {}
    for path in sorted(SCRIPTS.glob("*.py")):
        groups.setdefault(frozenset(NEEDED.get(path.stem, ())), []).append(path.stem)
    return list(groups.values())


@pytest.mark.parametrize("stages", stages_by_need(), ids="-".join)
def test_imports_of_stages(stages: list[str]):
    heavy = sorted(HEAVY - NEEDED.get(stages[0], set()))
    code = ["import sys"]
    for stage in stages:
        found = modules(SCRIPTS / f"{stage}.py")
        assert "gcdflow.cli" in found, stage
        code += [f"import {name}" for name in found]
        code += [f"print({stage!r}, *sorted(sys.modules.keys() & {heavy!r}))"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == stages  # else the first stage to import a package names it

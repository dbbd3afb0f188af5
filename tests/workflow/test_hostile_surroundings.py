"""Stages and Snakemake with variables of notebooks, launchers and clusters in the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake_runs import snakemake
from stage_commands import RUN, STAGES, content
from stage_processes import SCRIPTS

ANYWHERE = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MPLCONFIGDIR": "/dev/null/matplotlib",
    "HOME": "/dev/null",
    "TMPDIR": "/dev/null/tmp",
    "HF_HOME": "/dev/null/hub",
    "TORCHINDUCTOR_CACHE_DIR": "/dev/null/torch",
    "OMP_NUM_THREADS": "4,2",
    "MKL_NUM_THREADS": "many",
    "NUMBA_CACHE_DIR": "/dev/null/numba",
    "NUMBA_DISABLE_JIT": "1",
    "NUMBA_NUM_THREADS": "0",
    "NUMBA_THREADING_LAYER": "none",
    "CUDA_VISIBLE_DEVICES": "",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "nowhere.invalid",
    "GLOO_SOCKET_IFNAME": "ib0",
    "http_proxy": "http://nowhere.invalid:1",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "7",
    "PYTHONSTARTUP": "/dev/null/startup",
    "COLUMNS": "1",
    "TERM": "dumb",
}
BY_HAND = {**ANYWHERE, "PYTHONWARNINGS": "error"}
# With optimization, Python compiles again what a stage imports: of large packages for ten seconds.
OPTIMIZED = ("settings", "dataset", "report", "summary")
# Complete, as torchrun leaves them; and what only the shells that Snakemake starts look at.
IN_SNAKEMAKE = {
    **ANYWHERE,
    "RANK": "0",
    "MASTER_PORT": "1",
    "PYTHONSAFEPATH": "1",
    "BASH_ENV": "/dev/null/bash",
    "CDPATH": "/",
    "GREP_OPTIONS": "-v",
    "POSIXLY_CORRECT": "1",
    "SHELLOPTS": "nounset",
}


def run(code: Path, stage: str, arguments: list[str], environment: dict[str, str]) -> str:
    """Run a stage and return its output and messages. Fails if the stage fails."""
    result = subprocess.run(
        [sys.executable, code / f"{stage}.py", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


@pytest.fixture
def read_only_code(tmp_path: Path) -> Path:
    """A copy of the stages without a cache of compiled code: a file replaces its folder."""
    copy = tmp_path / "workflow_scripts"
    shutil.copytree(SCRIPTS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "gcdflow" / "ssddbc" / "__pycache__").touch()
    return copy


@pytest.fixture
def directory(complete_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the complete run, as the current directory."""
    copy = shutil.copytree(complete_run, tmp_path / "copy", copy_function=shutil.copy2)
    monkeypatch.chdir(copy)
    return copy


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_gives_the_same_output(directory, commands, stage):
    if stage == "train":
        shutil.rmtree(f"{RUN}/.rolling")  # else it would reuse the finished training
    before = content(directory)
    optimized = {"PYTHONOPTIMIZE": "2"} if stage in OPTIMIZED else {}
    run(SCRIPTS, stage, commands[stage], BY_HAND | optimized)
    after = content(directory)
    assert {name: after[name] for name in before} == before


def test_clustering_with_read_only_code_and_home(directory, commands, read_only_code):
    before = content(directory)
    said = run(read_only_code, "cluster", commands["cluster"], BY_HAND)
    assert "compiled code cannot be kept (no folder can be written)" in said
    assert content(directory) == before


def test_stages_of_snakemake_ignore_all_of_it_and_find_their_python(tmp_path):
    """Also where Snakemake was called by its path: no Python is in the PATH."""
    (tmp_path / "bin").mkdir()
    for name in ("bash", "env", "tee", "which", "uname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    environment = {**IN_SNAKEMAKE, "PATH": str(tmp_path / "bin")}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")  # Snakemake's own
    target, later = f"{RUN}/split.npz", {"PYTHONOPTIMIZE": "2"}
    arguments = ("--cores", "1", "--", target)
    result = snakemake(tmp_path, *arguments, environment=environment, later=later)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / target).exists()


STRICT = """
import builtins
real = builtins.__import__
def without(name, globals=None, *others, **named):
    if name == "pydantic" and str((globals or {}).get("__name__")).startswith("gcdflow"):
        raise ModuleNotFoundError("No module named 'pydantic'", name="pydantic")
    return real(name, globals, *others, **named)
builtins.__import__ = without
"""


def test_snakemake_without_the_packages_says_one_sentence(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(STRICT)  # Snakemake itself needs the same one
    path = {"PYTHONPATH": str(tmp_path)}
    result = snakemake(tmp_path, "--dry-run", "--", f"{RUN}/split.npz", environment=path)
    said = result.stdout + result.stderr
    assert result.returncode == 1
    assert "No module named 'pydantic'; " in said
    assert "activate the environment of this workflow" in said
    assert "Traceback" not in said

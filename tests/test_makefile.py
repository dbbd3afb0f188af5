"""`make clean` keeps expensive results, and `make distclean` asks."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
CACHES = (
    ".pytest_cache",
    ".ruff_cache",
    "workflow_scripts/gcdflow/__pycache__",
    "tests/__pycache__",
)
MADE = ("runs/digits", "results", "logs", ".snakemake/metadata", ".venv")
BROUGHT = ("data/photos", "weights", "benchmarks")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(MAKEFILE, tmp_path)
    for folder in (*CACHES, *MADE, *BROUGHT):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").touch()
    return tmp_path


def make(checkout: Path, *arguments: str, answer: str | None = None) -> subprocess.CompletedProcess:
    """Run make, on a terminal if there is an answer to type, otherwise without one."""
    ours, theirs = pty.openpty()
    try:
        if answer is not None:
            os.write(ours, f"{answer}\n".encode())
        return subprocess.run(
            ["make", *arguments],
            cwd=checkout,
            stdin=subprocess.DEVNULL if answer is None else theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)


def left(checkout: Path) -> set[str]:
    folders = (*CACHES, *MADE, *BROUGHT)
    return {folder for folder in folders if (checkout / folder / "file").exists()}


def test_clean_removes_caches_only(checkout: Path):
    assert make(checkout, "clean").returncode == 0
    assert left(checkout) == {*MADE, *BROUGHT}


@pytest.mark.parametrize("answer", [None, "", "n", "no", "yes please"])
def test_distclean_deletes_nothing_without_consent(checkout: Path, answer: str | None):
    result = make(checkout, "distclean", answer=answer)
    assert result.returncode != 0
    assert "This deletes runs, results, logs, .snakemake and .venv." in result.stdout
    expected = "make distclean YES=1" if answer is None else "Nothing is deleted."
    assert expected in result.stdout
    assert left(checkout) == {*CACHES, *MADE, *BROUGHT}


@pytest.mark.parametrize(("arguments", "answer"), [(("YES=1",), None), ((), "y"), ((), "yes")])
def test_distclean_deletes_all_results(
    checkout: Path, arguments: tuple[str, ...], answer: str | None
):
    result = make(checkout, "distclean", *arguments, answer=answer)
    assert result.returncode == 0, result.stdout
    assert left(checkout) == set(BROUGHT)

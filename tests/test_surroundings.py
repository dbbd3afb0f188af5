"""How a stage handles its environment and interpreter before it does anything else."""

from __future__ import annotations

import ast
import ctypes
import os
import platform
import runpy
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from gcdflow import surroundings
from gcdflow.surroundings import foreign_interpreter, settle

SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"
STAGES = sorted(path.stem for path in SCRIPTS.glob("*.py"))


@pytest.fixture(autouse=True)
def _unchanged(monkeypatch, tmp_path):
    """Undo the changes of a test to the environment of this process.

    It follows ``tmp_path``, which makes Python remember the folder of temporary files.
    """
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(tempfile, "tempdir", None)


# -- environment -----------------------------------------------------------------------------------


def test_variables_of_others_are_replaced(monkeypatch):
    given = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "TORCHINDUCTOR_CACHE_DIR": "/proc/nowhere",
        "NUMBA_DISABLE_JIT": "1",
        "NUMBA_NUM_THREADS": "0",
        "NUMBA_CACHE_DIR": "/scratch/numba",
        "OMP_NUM_THREADS": "4,2",
    }
    os.environ.update(given)
    settle()
    assert {name: os.environ.get(name) for name in given} == {
        "MPLBACKEND": "agg",
        "TORCHINDUCTOR_CACHE_DIR": "/",
        "NUMBA_DISABLE_JIT": None,
        "NUMBA_NUM_THREADS": None,
        "NUMBA_CACHE_DIR": "/scratch/numba",
        "OMP_NUM_THREADS": "4,2",
    }


def test_a_user_without_home_and_name(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    os.environ.pop("HOME", None)
    settle()
    assert os.path.expanduser("~") == "/"

    os.environ["HOME"] = "/nowhere"
    settle()
    assert os.environ["HOME"] == "/nowhere"


def test_a_temporary_folder_is_writable_and_short(monkeypatch, tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    os.environ["TMPDIR"] = str(long)
    settle()
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == "/tmp"

    def nothing():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nothing)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    settle()
    assert os.environ["TMPDIR"] == tempfile.tempdir == "/dev/shm"


def test_a_suitable_temporary_folder_is_kept(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.environ["TMPDIR"] = folder
        settle()
        assert os.environ["TMPDIR"] == folder == tempfile.gettempdir()


CLOSED = """
import os, sys
for descriptor in {closed}:
    os.close(descriptor)
from gcdflow.surroundings import settle
settle()
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2, file.fileno()
    os.write(1, b"printed"), os.write(2, b"said")
"""


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_no_file_takes_the_place_of_a_closed_stream(tmp_path, closed):
    code = CLOSED.format(closed=closed)
    command = [sys.executable, "-c", code, tmp_path / "file"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    assert (
        subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    )
    assert (tmp_path / "file").read_text() == ""


FREED = """
import resource
from gcdflow.surroundings import settle
if {settles}:
    settle()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**27
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("settles", [False, True])
def test_large_blocks_are_used_again(settles):
    """The system would clear their pages, one fault each, and training would wait for that."""
    command = [sys.executable, "-c", FREED.format(settles=settles)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, again = map(int, result.stdout.split())
    assert first > 50
    assert (again < first / 10) == settles


LOADED = """
import resource
import numpy as np
from gcdflow.data.workers import in_workers
from gcdflow.surroundings import settle

def pages():
    return int(open("/proc/self/statm").read().split()[1])

def load(item):
    before = pages()
    b"x" * 2**27
    return (np.array([(pages() - before) * resource.getpagesize()]),)

settle()
for (kept,) in in_workers(load, range(3), 1, lambda: 8):
    print(kept[0])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_loading_processes_keep_no_large_picture():
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", LOADED]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    kept = list(map(int, result.stdout.split()))
    assert len(kept) == 3
    assert max(kept) < 2**23


@pytest.mark.parametrize(
    ("most", "thresholds"),
    [(2**31 - 1, {-3: 2**31 - 1, -1: 2**31 - 1}), (2**25, {-3: 2**25, -1: 2**31 - 1}), (0, {})],
)
def test_an_older_glibc_returns_larger_blocks(monkeypatch, most, thresholds):
    found = {}

    class Library:
        def mallopt(self, parameter, value):
            is_refused = parameter == -3 and value > most
            found.update({} if is_refused else {parameter: value})
            return int(not is_refused)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    settle()
    assert found == thresholds


def test_other_encodings_of_file_names_are_replaced(tmp_path):
    # Python refuses non-ASCII letters in a command there.
    code = "from gcdflow.surroundings import settle; settle(); "
    code += r"print('\xb1', open('\xfc.txt').read())"
    (tmp_path / "ü.txt").write_text("content")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for changes, printed in (({}, "±"), ({"PYTHONIOENCODING": "ascii"}, r"\xb1")):
        result = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(SCRIPTS), **ascii_only, **changes},
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert result.stdout.decode() == f"{printed} content\n", result.stderr.decode()


def test_warnings_are_no_errors(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("error")
        surroundings.watch_imports()
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    assert [str(warning.message) for warning in said] == ["deprecated"]


# -- interpreter -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STAGES)
def test_missing_packages_are_one_sentence(name):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # Without site, Python finds no packages, as outside the environment. Some stages
    # need no packages for their help.
    command = [sys.executable, "-S", SCRIPTS / f"{name}.py", "--help"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = result.stderr
        assert said.startswith(f"{name}.py: error: No module named '"), said
        assert f"; {sys.executable} (Python 3." in said
        assert "activate the environment of this workflow" in said
        assert said.count("\n") == 1
    else:
        assert result.stdout.startswith("usage: ")


def test_a_package_that_a_stage_needs_later(tmp_path):
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError('No module', name='numpy')")
    command = [sys.executable, SCRIPTS / "report.py", "--run", "x", "--output", "r.md", "m.json"]
    result = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("report.py: error: No module; ")
    assert result.stderr.count("\n") == 1


def test_other_import_errors_are_bugs():
    assert foreign_interpreter(ImportError("broken in many\nlines")) is None
    assert foreign_interpreter(ModuleNotFoundError("x", name="gcdflow.no_such")) is None
    old = ImportError("cannot import name 'TypeAdapter' from 'pydantic' (/x)", name="pydantic")
    assert foreign_interpreter(old).startswith("cannot import name 'TypeAdapter' from 'pydantic'")


def test_bugs_keep_their_traceback(capsys):
    surroundings._excepthook(ValueError, ValueError("a bug"), None)
    assert "ValueError: a bug" in capsys.readouterr().err
    surroundings._excepthook(ImportError, ImportError("x", name="gcdflow.y"), None)
    assert "ImportError: x" in capsys.readouterr().err


def test_an_older_python_is_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    expected = r"is Python 3\.9, expected 3\.11 or newer; activate the environment"
    with pytest.raises(SystemExit, match=expected):
        runpy.run_path(str(SCRIPTS / "gcdflow" / "__init__.py"))


@pytest.mark.parametrize("name", [*STAGES, "gcdflow/__init__"])
def test_the_first_files_are_valid_in_an_older_python(name):
    ast.parse((SCRIPTS / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 6))

"""Compiled kernels are cached if a folder is writable, and work without a cache too."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import compile_kernels
import pytest
from gcdflow.ssddbc import _compiled
from numba import config

SOURCE = """
from gcdflow.ssddbc._compiled import compiled

@compiled
def added(a, b):
    return a + b
"""


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A function that compiles a kernel without a cache, from a module in a separate folder."""
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    _compiled._say_once.cache_clear()
    path = tmp_path / "kernels" / "kernel.py"
    path.parent.mkdir()
    path.write_text(SOURCE)

    def load():
        spec = importlib.util.spec_from_file_location("kernel", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.added

    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return load


def cached(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nb[ic]"))


def test_machine_code_is_cached(kernel, tmp_path):
    assert kernel()(1, 2) == 3
    assert [path.suffix for path in cached(tmp_path / "kernels")] == [".nbc", ".nbi"]
    again = kernel()
    assert again(1, 2) == 3
    assert sum(again.stats.cache_hits.values()) == 1


def test_without_a_writable_folder(kernel, tmp_path, monkeypatch, caplog):
    (tmp_path / "kernels" / "__pycache__").touch()
    with caplog.at_level(logging.INFO):
        assert [kernel()(1, 2), kernel()(1, 2)] == [3, 3]
    (line,) = caplog.messages
    assert "cannot be kept (no folder can be written)" in line
    assert "NUMBA_CACHE_DIR" in line

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "elsewhere"))
    assert kernel()(1, 2) == 3
    assert len(cached(tmp_path / "elsewhere")) == 2


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("content", [b"", b"\x80", b"\x80\x04N.", b"junk"])
def test_damaged_files_are_compiled_again(kernel, tmp_path, suffix, content):
    kernel()(1, 2)
    (path,) = (path for path in cached(tmp_path) if path.suffix == suffix)
    path.write_bytes(content)
    assert kernel()(1, 2) == 3


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), PermissionError(13, "x")]
)
def test_a_cache_that_is_not_writable(kernel, monkeypatch, caplog, error):
    def fail(*_):
        raise error

    added = kernel()
    monkeypatch.setattr(added._cache._cache_file, "save", fail)
    with caplog.at_level(logging.INFO):
        assert added(1, 2) == 3
        assert added(1.5, 2.0) == 3.5
    (line,) = caplog.messages
    assert f"cannot be kept ({error.strerror})" in line


def test_the_tests_can_compile_all_kernels_before():
    compile_kernels.main()

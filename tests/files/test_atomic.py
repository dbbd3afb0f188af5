"""Files appear whole or not at all, and equal content gives equal bytes."""

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from gcdflow.errors import InputError
from gcdflow.files import atomic, processes
from gcdflow.files.atomic import (
    atomic_link,
    atomic_write,
    canonical_json,
    sha256_file,
    sha256_text,
    write_json,
    write_npz,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"


def test_writes_text_and_bytes_and_makes_folders(tmp_path):
    with atomic_write(tmp_path / "a" / "b" / "text", "w") as file:
        file.write("größer\n")
    with atomic_write(tmp_path / "a" / "bytes") as file:
        file.write(b"\0\1")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "größer\n".encode()
    assert (tmp_path / "a" / "bytes").read_bytes() == b"\0\1"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "out"
    path.write_text("old")

    def write():
        with atomic_write(path, "w") as file:
            file.write("half of the n")
            file.flush()
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_an_exception_leaves_no_file_where_none_was(tmp_path):
    def write():
        with atomic_write(tmp_path / "out") as file:
            file.write(b"x")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        write()
    assert os.listdir(tmp_path) == []


def test_the_old_file_is_there_until_the_new_one_is_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "out"
    path.write_text("old")
    events = []

    def fsync(descriptor):
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        events.append((f"fsync {kind}", path.read_text()))

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    with atomic_write(path, "w") as file:
        file.write("new")
        events.append(("write", path.read_text()))
    assert events == [("write", "old"), ("fsync file", "old"), ("fsync directory", "new")]


def test_rubbish_of_a_killed_writer_is_removed(tmp_path):
    path = tmp_path / "out"
    code = (
        "import os, sys, signal; from gcdflow.files.atomic import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file: os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=SCRIPTS)
    assert len(os.listdir(tmp_path)) == 1
    with atomic_write(path, "w") as file:
        file.write("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_two_writers_do_not_disturb_each_other(tmp_path, monkeypatch):
    path = tmp_path / "out"
    with atomic_write(path, "w") as one:
        one.write("one")
        monkeypatch.setattr(processes.os, "getpid", lambda: 1)  # alive, and not this one
        with atomic_write(path, "w") as other:
            other.write("other, longer")
        assert path.read_text() == "other, longer"
        monkeypatch.undo()
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize(("age_days", "left"), [(0.9, 2), (1.1, 1)])
def test_files_of_other_machines_are_left_for_a_day(tmp_path, age_days, left):
    foreign = tmp_path / ".out.elsewhere-4026531836.77.tmp"
    foreign.write_text("half")
    then = time.time() - 86400 * age_days
    os.utime(foreign, (then, then))
    write_json(tmp_path / "out", 1)
    assert len(os.listdir(tmp_path)) == left


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for about 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs the rights for it")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


WRITERS = {
    "npz": lambda path: write_npz(path, {"a": np.zeros(30_000), "b": np.arange(5)}),
    "json": lambda path: write_json(path, ["x" * 100] * 3000),
    "torch": lambda path: _save_tensor(path),
}


def _save_tensor(path):
    import torch

    with atomic_write(path) as file:
        torch.save({"weights": torch.zeros(70_000)}, file)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_keeps_the_old_file_and_says_what_is_missing(small_disk, tmp_path, kind):
    path, write = small_disk / "out", WRITERS[kind]
    path.write_text("old")
    (small_disk / "other").write_bytes(b"x" * 20_000)
    with pytest.raises(InputError, match=r"out: cannot be written \(No space left") as info:
        write(path)
    needed, missing = map(int, re.findall(r"(\d+) (?:bytes,|of them)", str(info.value)))
    assert path.read_text() == "old"
    assert sorted(os.listdir(small_disk)) == ["other", "out"]
    write(tmp_path / "out")
    assert (tmp_path / "out").stat().st_size == needed
    assert needed - 45_000 <= missing < needed
    subprocess.run(["mount", "-o", "remount,size=512k", str(small_disk)], check=True)
    write(path)
    assert path.read_bytes() == (tmp_path / "out").read_bytes()


def test_a_limit_on_the_size_of_files(tmp_path):
    """What a quota does, without the rights to set one."""
    code = (
        "import resource, sys, numpy as np; from gcdflow.files.atomic import write_npz\n"
        "from gcdflow.errors import InputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try: write_npz(sys.argv[1], {'a': np.zeros(9_000)})\n"
        "except InputError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out.npz")]
    found = subprocess.run(command, check=True, cwd=SCRIPTS, capture_output=True, text=True)
    assert re.fullmatch(
        r".*npz: cannot be written \(File too large: it needs 72\d\d\d bytes, 62\d\d\d of them "
        r"found no room; free some and run again\)\n",
        found.stdout,
    )
    assert os.listdir(tmp_path) == []


def test_errors_of_the_caller_are_no_errors_of_writing(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out") as file:
        file.write(open(tmp_path / "absent", "rb").read())  # noqa: SIM115
    assert os.listdir(tmp_path) == []


def test_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"out: cannot be written \((Not a directory|File exists)"),
        atomic_write(tmp_path / "file" / "out"),
    ):
        pass
    with (
        pytest.raises(InputError, match=rf"{tmp_path}: cannot be written \(is a directory\)"),
        atomic_write(tmp_path),
    ):
        pass


def test_written_files_obey_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "out", 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


def test_npz_round_trip(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array("text"), "c": np.zeros(0, bool)}
    write_npz(tmp_path / "x.npz", arrays)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as loaded:
        assert loaded.files == list(arrays)
        for name, array in arrays.items():
            assert loaded[name].dtype == array.dtype
            assert loaded[name].shape == array.shape
            np.testing.assert_array_equal(loaded[name], array)


def test_equal_arrays_give_equal_bytes(tmp_path, monkeypatch):
    array = np.arange(12.0).reshape(3, 4)
    write_npz(tmp_path / "1.npz", {"a": array, "b": np.array("x")})
    monkeypatch.setattr("time.time", lambda: 2e9)
    in_another_order = np.asfortranarray(array)
    write_npz(tmp_path / "2.npz", {"a": in_another_order, "b": np.array("x")})
    write_npz(tmp_path / "3.npz", {"a": np.repeat(array, 2, axis=0)[::2], "b": np.array("x")})
    contents = {(tmp_path / f"{i}.npz").read_bytes() for i in (1, 2, 3)}
    assert len(contents) == 1


def test_objects_are_not_written(tmp_path):
    with pytest.raises(TypeError, match="array 'bad' holds Python objects"):
        write_npz(tmp_path / "x.npz", {"good": np.zeros(1), "bad": np.array([{}])})
    assert os.listdir(tmp_path) == []


def test_json_is_sorted_and_strict(tmp_path):
    write_json(tmp_path / "x.json", {"b": [1, None], "a": 0.1})
    text = (tmp_path / "x.json").read_text()
    assert text == '{\n  "a": 0.1,\n  "b": [\n    1,\n    null\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert (tmp_path / "x.json").read_text() == text
    assert os.listdir(tmp_path) == ["x.json"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # A lone surrogate is no text that a file could hold.
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=3), json_values, max_size=3))
def test_canonical_json_forgets_the_order_of_keys(value):
    reverse = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(reverse)
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_has_no_spaces_and_no_nan():
    assert canonical_json({"b": 1, "a": [1, 2]}) == '{"a":[1,2],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("inf"))


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes("ä".encode() * 100_000)
    expected = hashlib.sha256("ä".encode() * 100_000).hexdigest()
    assert sha256_file(tmp_path / "x") == sha256_text("ä" * 100_000) == expected


def test_sha256_of_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"absent: cannot be read \(No such file or directory\)"):
        sha256_file(tmp_path / "absent")


def test_a_second_name_takes_the_place_of_another_file_and_of_itself(tmp_path):
    existing, path = tmp_path / "existing", tmp_path / "second"
    existing.write_text("content")
    path.write_text("other")
    dead = subprocess.Popen(["true"])
    dead.wait()
    orphan = tmp_path / f".second.{processes.machine()}.{dead.pid}.tmp"
    orphan.touch()
    for _ in range(2):  # a rename of a file to itself does nothing: its old name would stay
        atomic_link(existing, path)
        assert path.samefile(existing)
        assert sorted(os.listdir(tmp_path)) == ["existing", "second"]

"""A lock that living owners keep, and dead ones do not."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from gcdflow.errors import InputError
from gcdflow.files import lease as module
from gcdflow.files.lease import Lease
from gcdflow.files.processes import machine, process_start

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(module, "DEAD_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)


def foreign(path: Path, number: int = 1, beats: int = 0, **changes) -> Path:
    """A lock file of a process on another machine."""
    owner = {"machine": "elsewhere", "host": "node7", "pid": 1, "began": "1", "beats": beats}
    file = path.with_name(f"{path.name}.lock-{number}")
    file.write_text(json.dumps(owner | changes))
    return file


def test_it_leaves_nothing(tmp_path):
    with Lease(tmp_path / "sub" / "c.pt") as lease:
        lease.check()
        assert [p.name for p in (tmp_path / "sub").iterdir()] == ["c.pt.lock-1"]
    assert list((tmp_path / "sub").iterdir()) == []


def test_a_living_owner_is_named_and_keeps_it(tmp_path):
    with Lease(tmp_path / "c.pt") as first:
        expected = rf"c\.pt: is being written by process {os.getpid()} on .*; wait until it ends"
        with pytest.raises(InputError, match=expected), Lease(tmp_path / "c.pt"):
            pass
        first.check()
    with Lease(tmp_path / "c.pt"):
        pass


def test_who_waits_gets_it_when_the_owner_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 30)
    with Lease(tmp_path / "c.pt"):
        second = Lease(tmp_path / "c.pt")
        waiting = threading.Thread(target=second.__enter__)
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()
    second.check()
    second.__exit__(None, None, None)


def test_a_killed_owner_loses_it_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DEAD_AFTER_SECONDS", 1000)
    code = (
        "import os, signal, sys; from pathlib import Path; from gcdflow.files.lease import Lease\n"
        "with Lease(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.pt")], check=False, cwd=SCRIPTS)
    assert len(list(tmp_path.iterdir())) == 1
    with Lease(tmp_path / "c.pt") as lease:
        lease.check()
        assert [p.name for p in tmp_path.iterdir()] == ["c.pt.lock-2"]


def test_a_process_with_the_number_of_a_dead_one_is_another(tmp_path):
    foreign(tmp_path / "c.pt", machine=machine(), pid=os.getpid(), began="an earlier time")
    with Lease(tmp_path / "c.pt"):
        pass
    foreign(tmp_path / "c.pt", machine=machine(), pid=os.getpid(), began=process_start(os.getpid()))
    with pytest.raises(InputError, match="is being written by"), Lease(tmp_path / "c.pt"):
        pass


def test_elsewhere_a_heart_that_stands_still_is_dead(tmp_path, caplog):
    foreign(tmp_path / "c.pt", number=3)
    with Lease(tmp_path / "c.pt") as lease:
        lease.check()
        # Of a foreign number only the highest is looked at; smaller ones are gone.
        assert {p.name for p in tmp_path.glob("c.pt.lock-*")} == {"c.pt.lock-4"}
    assert "its owner on node7 is dead" in caplog.text


def test_elsewhere_a_heart_that_beats_is_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DEAD_AFTER_SECONDS", 30)
    foreign(tmp_path / "c.pt")
    timer = threading.Timer(0.1, lambda: foreign(tmp_path / "c.pt", beats=1))
    timer.start()
    with (
        pytest.raises(InputError, match=r"process 1 on node7; wait until it ends"),
        Lease(tmp_path / "c.pt"),
    ):
        pass
    timer.join()


def test_an_owner_that_was_asleep_gives_up(tmp_path):
    with Lease(tmp_path / "c.pt") as lease:
        lease.check()
        later = foreign(tmp_path / "c.pt", number=2)
        with pytest.raises(InputError, match="another process has taken this over"):
            lease.check()
        later.unlink()


def test_an_owner_that_slept_through_all_of_its_successor_gives_up(tmp_path):
    with Lease(tmp_path / "c.pt") as lease:
        (tmp_path / "c.pt.lock-1").unlink()  # as the successor does, and removes its own at the end
        lease._heart.join(10)
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(InputError, match="another process has taken this over"):
            lease.check()


def test_of_many_who_find_a_dead_owner_one_gets_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    foreign(tmp_path / "c.pt", machine=machine(), pid=2**22 + 1)
    begin, end = threading.Barrier(8), threading.Event()
    won, lost = [], []

    def compete():
        begin.wait()
        try:
            with Lease(tmp_path / "c.pt"):
                won.append(1)
                end.wait(10)
        except InputError:
            lost.append(1)
        if len(lost) == 7:
            end.set()

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


def test_a_damaged_lock_is_not_for_ever(tmp_path):
    (tmp_path / "c.pt.lock-1").write_bytes(b"\xff{")
    with Lease(tmp_path / "c.pt") as lease:
        lease.check()

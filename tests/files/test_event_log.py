"""Every step exactly once, as our own reader and TensorBoard's loaders see it."""

import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from gcdflow.errors import InputError
from gcdflow.files.event_log import (
    EventLog,
    event_file,
    read_scalars,
    remove_overlapping,
    restore_missing,
    write_scalars,
)

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def loss(step):
    """Exact in float32."""
    return 2 - step / 64


def history(first, last):
    return {step: {"L_total": loss(step), "gamma": 0.0} for step in range(first, last + 1)}


def log_epochs(log, first, last):
    for step, values in history(first, last).items():
        log.scalars(step, values)
        log.flush()


def interrupted_run(log_dir):
    """Two segments, the second killed and resumed, and the stages between them."""
    with EventLog(event_file(log_dir, "train", 1, 5)) as log:
        log_epochs(log, 1, 5)
    second = event_file(log_dir, "train", 6, 10)
    with EventLog(second) as log:
        log_epochs(log, 6, 8)
        log.scalars(9, {"L_total": -1.0})
    with EventLog(second, history(6, 7)) as log:
        log_epochs(log, 8, 10)
    for epoch in (10, 5):  # as if the first refresh had been clustered again, later
        write_scalars(log_dir, "cluster", epoch, {"n_clusters": epoch})


EXPECTED = {
    "L_total": [(step, loss(step)) for step in range(1, 11)],
    "gamma": [(step, 0.0) for step in range(1, 11)],
    "n_clusters": [(5, 5.0), (10, 10.0)],
}


def test_interrupted_run_has_every_step_once(tmp_path):
    interrupted_run(tmp_path / "log")
    assert read_scalars(tmp_path / "log") == EXPECTED


def test_names_sort_in_order_of_epoch(tmp_path):
    files = [
        event_file(tmp_path, "train", 1, 50),
        event_file(tmp_path, "cluster", 50, 50),
        event_file(tmp_path, "train", 51, 75),
        event_file(tmp_path, "cluster", 75, 75),
        event_file(tmp_path, "train", 76, 100),
        event_file(tmp_path, "cluster", 100, 100),
    ]
    assert files == sorted(files)
    assert files[2] == tmp_path / "events.out.tfevents.epoch051-075.train"


@pytest.mark.parametrize("epochs", [(5, 4), (-1, 4), (990, 1000)])
def test_epochs_that_have_no_name_are_refused(epochs):
    with pytest.raises(InputError, match=f"epochs {epochs[0]} to {epochs[1]} cannot be logged"):
        event_file("log", "train", *epochs)


def test_a_segment_that_starts_again_replaces_its_file(tmp_path):
    path = event_file(tmp_path, "train", 1, 4)
    for last in (4, 2):
        with EventLog(path) as log:
            log_epochs(log, 1, last)
    assert [step for step, _ in read_scalars(tmp_path)["gamma"]] == [1, 2]


def test_none_is_left_out_and_nan_is_kept(tmp_path):
    with EventLog(event_file(tmp_path, "train", 0, 9)) as log:
        log.scalars(0, {"a": None, "b": math.nan, "c": -math.inf})
        log.scalars(1, {"a": None})
    scalars = read_scalars(tmp_path)
    assert set(scalars) == {"b", "c"}
    assert math.isnan(scalars["b"][0][1])
    assert scalars["c"] == [(0, -math.inf)]


def test_a_file_that_is_written_again_holds_the_same_steps_at_the_same_bytes(tmp_path):
    # A TensorBoard that read the first attempt reads on behind it only if this holds.
    path = event_file(tmp_path, "train", 1, 3)
    with EventLog(path) as log:
        log.scalars(1, {"throughput": 0.0, "loss": 1.0})
    length = path.stat().st_size
    with EventLog(path, {1: {"loss": 1.0, "throughput": 123.456}}) as log:
        assert path.stat().st_size == length  # all of it is on the disk at once
        log.scalars(2, {"loss": 0.5})
    assert read_scalars(tmp_path)["loss"] == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize("cut", [1, 4, 13, 30])
def test_a_record_cut_in_the_middle_is_ignored(tmp_path, cut):
    path = event_file(tmp_path, "train", 1, 3)
    with EventLog(path) as log:
        log_epochs(log, 1, 3)
    os.truncate(path, path.stat().st_size - cut)
    assert [step for step, _ in read_scalars(tmp_path)["gamma"]] == [1, 2]


def test_epochs_whose_file_was_deleted_are_restored(tmp_path):
    whole = history(1, 9)
    with EventLog(event_file(tmp_path, "train", 4, 6)) as log:
        log_epochs(log, 4, 6)
    restore_missing(tmp_path, "train", {e: v for e, v in whole.items() if e <= 6})
    assert [path.name[-13:] for path in sorted(tmp_path.iterdir())] == [
        "001-003.train",
        "004-006.train",
    ]
    assert read_scalars(tmp_path)["gamma"] == [(step, 0.0) for step in range(1, 7)]
    restore_missing(tmp_path, "train", {})
    restore_missing(tmp_path / "new", "train", whole)
    assert read_scalars(tmp_path / "new")["gamma"] == [(step, 0.0) for step in range(1, 10)]


def test_damage_is_reported(tmp_path):
    path = event_file(tmp_path, "cluster", 5, 5)
    write_scalars(tmp_path, "cluster", 5, {"k": 7.0})
    content = bytearray(path.read_bytes())
    for position in (0, len(content) - 6):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"cluster is damaged: the record at byte \d+ does"):
            read_scalars(tmp_path)


def test_one_shot_file_is_replaced_and_leaves_nothing_beside_it(tmp_path):
    path = event_file(tmp_path / "log", "evaluate", 5, 5)
    write_scalars(path.parent, "evaluate", 5, {"val_acc_all": 0.25})
    write_scalars(path.parent, "evaluate", 5, {"val_acc_all": 0.75})
    write_scalars(None, "evaluate", 6, {"val_acc_all": 0.5})
    assert read_scalars(path.parent) == {"val_acc_all": [(5, 0.75)]}
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_no_unfinished_file_has_a_name_that_tensorboard_reads(tmp_path, monkeypatch, broken):
    path = event_file(tmp_path, "evaluate", 5, 5)
    write_scalars(tmp_path, "evaluate", 5, {"val_acc_all": 0.25})
    seen = []

    def crash(*_):
        seen.extend(name for name in os.listdir(tmp_path) if name != path.name)
        raise OSError("no space left on device")

    monkeypatch.setattr(os, broken, crash)
    with pytest.raises(InputError, match=r"cannot be written \(no space"):
        write_scalars(tmp_path, "evaluate", 5, {"val_acc_all": 0.75})
    assert seen
    assert not any("tfevents" in name for name in seen)
    assert read_scalars(tmp_path) == {"val_acc_all": [(5, 0.25)]}


def test_read_reports_duplicates(tmp_path):
    for last in (5, 6):
        EventLog(event_file(tmp_path, "train", 5, last), {5: {"a": float(last)}}).close()
    assert read_scalars(tmp_path) == {"a": [(5, 5.0), (5, 6.0)]}


def test_read_of_a_directory_that_is_not_there_or_has_other_files(tmp_path):
    assert read_scalars(tmp_path / "log") == {}
    (tmp_path / "notes.txt").write_text("no events")
    assert read_scalars(tmp_path) == {}


def test_files_of_other_segment_lengths_are_removed(tmp_path):
    def write(stage, first, last):
        path = event_file(tmp_path, stage, first, last)
        EventLog(path, {last: {stage: 1.0}}).close()
        return path

    kept = [
        write("train", 1, 50),
        write("train", 51, 60),
        write("train", 61, 70),
        write("train", 71, 100),
        write("cluster", 60, 65),
        write("train-extra", 61, 75),
    ]
    stale = [write("train", 51, 75), write("train", 61, 61), write("train", 70, 80)]
    foreign = tmp_path / "events.out.tfevents.1700000000.host.123"
    foreign.write_bytes(b"")
    assert remove_overlapping(tmp_path, "train", 61, 70) == stale
    assert sorted(tmp_path.iterdir()) == sorted([*kept, foreign])
    assert remove_overlapping(tmp_path, "train", 61, 70) == []
    assert remove_overlapping(tmp_path / "none", "train", 61, 70) == []


def test_logging_imports_neither_torch_nor_tensorflow(tmp_path):
    code = """if True:
        import sys
        from gcdflow.files.event_log import EventLog, event_file, read_scalars
        assert "tensorboard" not in sys.modules, "slow to import, wanted on first use only"
        with EventLog(event_file(sys.argv[1], "train", 1, 1)) as log:
            log.scalars(1, {"a": 1.0})
        assert read_scalars(sys.argv[1]) == {"a": [(1, 1.0)]}
        assert not {"torch", "tensorflow"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=ENVIRONMENT, check=True)


def as_points(events):
    return [(event.step, event.value) for event in events]


def test_event_accumulator_sees_every_step_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    interrupted_run(tmp_path)
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    accumulator.Reload()
    assert {
        tag: as_points(accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"]
    } == EXPECTED


def test_event_multiplexer_sees_one_run_per_log_directory(tmp_path):
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    for run in ("cub", "cars"):
        interrupted_run(tmp_path / run / "log")
    multiplexer = EventMultiplexer(size_guidance={"scalars": 0})
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    assert set(multiplexer.Runs()) == {"cub/log", "cars/log"}
    for tag, points in EXPECTED.items():
        assert as_points(multiplexer.Scalars("cub/log", tag)) == points


def query(port, path, **parameters):
    url = f"http://127.0.0.1:{port}/data/plugin/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)


def served_scalars(port, run):
    """The points that the Scalars dashboard draws, by tag."""
    tags = query(port, "scalars/tags").get(run, {})
    return {
        tag: [(step, value) for _, step, value in query(port, "scalars/scalars", run=run, tag=tag)]
        for tag in tags
    }


def wait_for(function, expected, seconds):
    """The function's last answer, as soon as it is the expected one."""
    deadline = time.monotonic() + seconds
    answer = None
    while answer != expected and time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            answer = function()
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            answer = error
    return answer


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_tensorboard_serves_every_step_once_while_the_run_grows(tmp_path, load_fast):
    if load_fast == "true":
        pytest.importorskip("tensorboard_data_server")
    interrupted_run(tmp_path / "cub" / "log")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    output = tmp_path / "server.txt"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--reload_interval", "1"]
    command += ["--load_fast", load_fast]
    with output.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        answer = wait_for(lambda: served_scalars(port, "cub/log"), EXPECTED, 60)
        assert answer == EXPECTED, output.read_text()

        # Killed and resumed under the eyes of the server: it must read on without a restart.
        growing = event_file(tmp_path / "cub" / "log", "train", 11, 12)
        with EventLog(growing) as log:
            log_epochs(log, 11, 12)
        expected = [*EXPECTED["gamma"], (11, 0.0), (12, 0.0)]
        answer = wait_for(lambda: served_scalars(port, "cub/log")["gamma"], expected, 20)
        assert answer == expected, output.read_text()
        with EventLog(growing, history(11, 11)) as log:
            log_epochs(log, 12, 13)
        expected = [*expected, (13, 0.0)]
        answer = wait_for(lambda: served_scalars(port, "cub/log")["gamma"], expected, 20)
        assert answer == expected, output.read_text()
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

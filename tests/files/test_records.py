"""Records of what files were made of, and times that fit them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from gcdflow.files.records import MADE, mend_times, recorded, version_after

RUN = Path("runs/r")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    RUN.mkdir(parents=True)
    Path("logs").mkdir()
    Path("weights.pt").write_text("weights")
    (RUN / "split.npz").write_text("split")
    return tmp_path


def make(
    monkeypatch: pytest.MonkeyPatch, outputs: list[str], inputs: list[str], text: str = ""
) -> None:
    """Do as a stage that a rule calls."""
    log = f"logs/{outputs[0]}.log"
    paths = (
        [str(RUN / name) for name in outputs],
        [name if "/" in name or name == "weights.pt" else str(RUN / name) for name in inputs],
    )
    monkeypatch.setenv(MADE, "".join(f"{p}\n" for p in (*paths[0], "--", *paths[1], "--", log)))
    with recorded():
        for name in outputs:
            (RUN / name).write_text(f"{name} {text}")
    Path(log).with_suffix(".benchmark.tsv").write_text("s\n1\n")
    monkeypatch.delenv(MADE)


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two segments, which are made in this order."""
    make(monkeypatch, ["ckpt_1.pt"], ["split.npz", "weights.pt"])
    make(monkeypatch, ["features_1.npz"], ["ckpt_1.pt", "split.npz", "weights.pt"])
    make(monkeypatch, ["pseudo_1.npz", "grid_1.tsv"], ["features_1.npz"])
    make(monkeypatch, ["ckpt_2.pt"], ["split.npz", "weights.pt", "ckpt_1.pt", "pseudo_1.npz"])


def times() -> dict[str, float]:
    return {p.name: p.stat().st_mtime for p in Path().rglob("*") if p.is_file()}


def set_times(*names: str) -> None:
    """Let files have been changed in this order, long ago."""
    for second, name in enumerate(names):
        (path,) = (p for p in Path().rglob(name) if p.parent.name != ".made")
        os.utime(path, (1e9 + second, 1e9 + second))


BACKWARDS = ["ckpt_2.pt", "grid_1.tsv", "pseudo_1.npz", "features_1.npz", "ckpt_1.pt"]


@pytest.mark.usefixtures("chain")
def test_times_that_fit_are_left():
    before = times()
    assert mend_times(RUN) == []
    assert times() == before


@pytest.mark.usefixtures("chain")
def test_any_order_is_set_right_and_stays():
    set_times(*BACKWARDS, "split.npz", "weights.pt")
    brought = {name: times()[name] for name in ("split.npz", "weights.pt")}
    assert mend_times(RUN) == sorted(f"runs/r/{name}" for name in BACKWARDS)
    found = times()
    assert {name: found[name] for name in brought} == brought
    assert set(map(found.get, BACKWARDS)) == {brought["weights.pt"]}  # none newer than another
    assert mend_times(RUN) == []


@pytest.mark.usefixtures("chain")
def test_a_benchmark_has_a_time_too():
    """Snakemake compares with the oldest of outputs and benchmark."""
    set_times("features_1.npz.benchmark.tsv")
    assert mend_times(RUN) == ["logs/features_1.npz.benchmark.tsv"]
    assert mend_times(RUN) == []


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    ("changed", "mended"),
    [
        ("split.npz", {"pseudo_1.npz", "grid_1.tsv"}),
        ("pseudo_1.npz", {"features_1.npz", "ckpt_1.pt"}),  # nor what was made beside it
        ("ckpt_1.pt", {"pseudo_1.npz", "grid_1.tsv"}),
        ("ckpt_2.pt", {"features_1.npz", "ckpt_1.pt", "pseudo_1.npz", "grid_1.tsv"}),
    ],
)
def test_what_was_changed_or_made_of_it_keeps_its_time(changed: str, mended: set[str]):
    (RUN / changed).write_text("other")
    set_times(*BACKWARDS, "split.npz", "weights.pt")
    assert {Path(path).name for path in mend_times(RUN)} == mended


@pytest.mark.usefixtures("chain")
def test_what_is_missing_does_not_count():
    """Features that were deleted to save space re-run nothing either."""
    (RUN / "features_1.npz").unlink()
    set_times(*(name for name in BACKWARDS if name != "features_1.npz"), "split.npz")
    assert {Path(p).name for p in mend_times(RUN)} == {"ckpt_1.pt", "ckpt_2.pt"}


def test_only_a_rule_leaves_a_record_and_only_of_what_was_made(monkeypatch: pytest.MonkeyPatch):
    with recorded():
        (RUN / "by_hand.pt").write_text("x")
    assert not (RUN / ".made").exists()
    monkeypatch.setenv(MADE, f"{RUN}/c.pt\n--\n{RUN}/split.npz\n--\nlogs/c.log\n")
    with pytest.raises(KeyError), recorded():
        raise KeyError
    assert not (RUN / ".made").exists()


def test_the_record_is_of_the_inputs_that_were_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(MADE, f"{RUN}/c.pt\n--\n{RUN}/split.npz\n--\nlogs/c.log\n")
    with recorded():
        (RUN / "c.pt").write_text("made of the first split")
        (RUN / "split.npz").write_text("another split, which came meanwhile")
    set_times("c.pt", "split.npz")
    assert mend_times(RUN) == []


def test_where_no_record_can_be_written_there_is_none(monkeypatch: pytest.MonkeyPatch):
    (RUN / ".made").write_text("in the way")
    make(monkeypatch, ["c.pt"], ["split.npz"])
    assert (RUN / "c.pt").exists()
    assert mend_times(RUN) == []


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    "change",
    [
        lambda record: "no JSON",
        lambda record: "[]",
        lambda record: json.dumps({**record, "outputs": 1}),
        lambda record: json.dumps({**record, "inputs": ["../../weights.pt"]}),
        lambda record: json.dumps({**record, "inputs": {"\0": "0"}}),
        lambda record: json.dumps({**record, "inputs": {"/dev/zero": "0"}}),
        lambda record: json.dumps({**record, "outputs": {"../../weights.pt": "0"}}),
        lambda record: json.dumps({**record, "beside": ["../../weights.pt"]}) * 2,
        lambda record: json.dumps(record) + " " * 2**20,
        lambda record: json.dumps({"outputs": record["outputs"]}),
    ],
)
def test_a_broken_record_is_none(change):
    set_times("weights.pt", "ckpt_1.pt", "split.npz")
    path = RUN / ".made" / "ckpt_1.pt.json"
    record = json.loads(path.read_text())
    path.write_text(change(record))
    before = times()
    mend_times(RUN)
    assert times()["ckpt_1.pt"] == before["ckpt_1.pt"]
    path.write_text(json.dumps({**record, "beside": ["../../weights.pt"]}))
    assert mend_times(RUN) == ["runs/r/ckpt_1.pt"]
    assert times()["weights.pt"] == before["weights.pt"]


def update(
    monkeypatch: pytest.MonkeyPatch, params: str, text: str | None, split: str = "split"
) -> None:
    """Do as the stage of a rule that updates its output; it fails if there is no text."""
    (RUN / "split.npz").write_text(split)
    version = version_after(1, RUN / "seen.npz")
    parts = (RUN / "seen.npz", "--", RUN / "split.npz", "--", "logs/l.log", "--", version, params)
    monkeypatch.setenv(MADE, "".join(f"{part}\n" for part in parts))
    with recorded():
        if text is None:
            raise KeyError
        (RUN / "seen.npz").write_text(text)


def test_an_update_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    """Snakemake takes the old file, which it puts back, for one of the new params and inputs."""

    def version() -> int | str:
        return version_after(1, RUN / "seen.npz")

    with pytest.raises(KeyError):
        update(monkeypatch, "a", None)
    assert version() == 1, "no file, which Snakemake sees"
    update(monkeypatch, "a", "of a")
    assert version() == 1
    with pytest.raises(KeyError):
        update(monkeypatch, "a", None)
    assert version() == 1, "the old file is what the job would have made"
    with pytest.raises(KeyError):
        update(monkeypatch, "b", None)
    assert version() == "1.1"
    with pytest.raises(KeyError):
        update(monkeypatch, "b", None)
    assert version() == "1.2"
    update(monkeypatch, "b", "of b")
    assert version() == "1.2", "that of the job, by which Snakemake knows the file"
    with pytest.raises(KeyError):
        update(monkeypatch, "b", None)
    assert version() == "1.2"
    with pytest.raises(KeyError):
        update(monkeypatch, "b", None, split="another")
    assert version() == "1.3"
    (RUN / ".made" / "seen.npz.failed").write_text("no number")
    assert version() == 1

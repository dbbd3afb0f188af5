"""A clustering in shards: what is planned, what is equal, what another number re-runs."""

from __future__ import annotations

from pathlib import Path

from snakemake_runs import make, planned

RUN = "runs/digits-smoke"
PSEUDO, GRID = f"{RUN}/pseudo_epoch003.npz", f"{RUN}/grid_epoch003.tsv"
SHARDED = {"neighbours": 1, "cluster_shard": 3, "score_shard": 3, "cluster": 1}


def shards(n: int, **clustering: str) -> dict:
    return {"runs": {"digits-smoke": {"cluster_shards": n, "clustering": clustering}}}


def without_seconds(path: Path) -> list[list[str]]:
    return [line.split("\t")[:-1] for line in path.read_text().splitlines()]


def test_a_run_from_nothing(tmp_path: Path):
    assert planned(tmp_path, f"{RUN}/pseudo_epoch002.npz", changes=shards(3)) == {
        **{"dataset": 1, "train": 1, "features": 1, **SHARDED}
    }
    # The grid has four configurations.
    plan = planned(tmp_path, f"{RUN}/pseudo_epoch002.npz", changes=shards(100))
    assert (plan["cluster_shard"], plan["score_shard"]) == (4, 4)


def test_shards_give_equal_bytes_and_later_numbers_re_run_nothing(finished_copy: Path):
    pseudo, grid = finished_copy / PSEUDO, finished_copy / GRID
    before, rows = pseudo.read_bytes(), without_seconds(grid)
    events = finished_copy / RUN / "log" / "events.out.tfevents.epoch003-003.cluster"
    length = events.stat().st_size

    # Finished pseudo labels stay, but for another grid.
    assert planned(finished_copy, f"{RUN}/report.md", changes=shards(3)) == {}
    other = planned(finished_copy, PSEUDO, changes=shards(3, k="5,7"))
    assert (other["neighbours"], other["cluster_shard"], other["cluster"]) == (2, 6, 2)

    pseudo.unlink()
    grid.unlink()
    events.unlink()
    assert planned(finished_copy, PSEUDO, changes=shards(3)) == SHARDED
    make(finished_copy, PSEUDO, changes=shards(3))
    assert pseudo.read_bytes() == before
    assert without_seconds(grid) == rows
    assert events.stat().st_size == length
    left = [path.name for path in (finished_copy / RUN).glob("*of3.npz")]
    assert left == []
    assert not list((finished_copy / RUN).glob("neighbours*"))
    log = (finished_copy / "logs/digits-smoke/cluster_shard_epoch003_2of3.log").read_text()
    assert "clusterings_epoch003_2of3.npz: shard 2/3, 1 configurations of" in log

    # What was made in three shards stays with another number, and what follows with equal bytes.
    for n in (1, 2):
        assert planned(finished_copy, f"{RUN}/report.md", changes=shards(n)) == {}

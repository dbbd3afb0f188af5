"""A short version of the kill campaign; `make torture` runs the long one."""

from __future__ import annotations

import runpy
from pathlib import Path

TORTURE = Path(__file__).parents[2] / "benchmarks" / "torture.py"


def test_kills_lose_nothing():
    script = runpy.run_path(str(TORTURE))
    # One segment less than in the long one, and no stages after it: they keep no state.
    script["RUNS"]["digits-smoke"]["schedule"]["total_epochs"] = 5
    script["TARGETS"]["digits-smoke"] = ["runs/digits-smoke/ckpt_epoch005.pt"]
    tally = script["torture"]("digits-smoke", most_kills=4, minutes=2.0, seed=3)
    assert sum(tally.kills.values()) >= 1
    assert tally.finished >= 1
    assert tally.differences == []
    assert tally.repeated_epochs == 0

"""If Slurm cannot be started, these tests are skipped; with GCDFLOW_NEED_SLURM, they fail."""

from __future__ import annotations

import os

import pytest
from one_node import missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    if reason is not None and os.environ.get("GCDFLOW_NEED_SLURM"):
        pytest.exit(f"no Slurm: {reason}", returncode=1)
    for item in items:
        if reason is not None and item.path.parent.name == "slurm":
            item.add_marker(pytest.mark.skip(reason=reason))

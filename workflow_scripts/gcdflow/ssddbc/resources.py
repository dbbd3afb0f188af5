"""What a search will cost, said before it starts: a rough model, calibrated once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """Prediction of peak memory beyond the interpreter (bytes) and of wall time (seconds)."""

    memory_bytes: int
    seconds: float


def estimate_resources(
    n: int, d: int, n_k: int = 18, n_percentiles: int = 12, n_jobs: int = 1
) -> Resources:
    """Predict memory and time of :class:`SSDDBCGridSearch` on n × d float32 features.

    A rough cost model: memory is counted array by array, time is scaled from one machine (cores of
    about 50 GFLOP/s in float32), so expect a factor of two either way on another.
    """
    cells = n_k * n_percentiles
    per_point = 4 * d + 8 * d + 2 * 4 * d + cells * 10 + 300 * 12 + n_k * 16
    per_thread = 64 * 2**20 + 64 * 8 * n
    work = 4.5 * 2.0 * n * n * d / 40e9 + 1e-9 * n * n * cells * 0.35 + 3e-4 * n
    return Resources(int(n * per_point + max(n_jobs, 1) * per_thread), 0.3 + work / max(n_jobs, 1))

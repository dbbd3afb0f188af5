"""Compare timings of the SSDDBC grid search in one run, and print ratios of medians.

    python benchmarks/ssddbc_benchmark.py reference --n 2500 --classes 5
    python benchmarks/ssddbc_benchmark.py reference --n 6000 --classes 200 --literal-cells 4
    python benchmarks/ssddbc_benchmark.py neighbours --n 50000 --classes 100 --repeat 1
    python benchmarks/ssddbc_benchmark.py growth --n 5000
    python benchmarks/ssddbc_benchmark.py threads --n 6000 --classes 200
    python benchmarks/ssddbc_benchmark.py approximate --n 50000 --classes 100
    python benchmarks/ssddbc_benchmark.py large --n 200000 --classes 400
    python benchmarks/ssddbc_benchmark.py large --n 1000000 --classes 1000 --only
    python benchmarks/ssddbc_benchmark.py large --n 1280000 --classes 1000 --only --device cuda
    python benchmarks/ssddbc_benchmark.py copies --n 3000

``reference``: the literal implementation of the tests, in parallel over configurations with joblib;
a few configurations are timed and extrapolated to the whole grid. ``neighbours``: scikit-learn's
brute-force ``kneighbors`` with 20 neighbours, once. ``growth``: n against 2n. ``threads``: one
thread against two. ``approximate``: the exact search against the one with approximate neighbours,
and how much their choices differ. ``large``: approximate neighbours alone (with ``--device cuda``:
exact ones, by a GPU), n against 2n (``--only``: n), from a memory-mapped file in the current
folder. ``copies``: equal rows against distinct ones. Processor time is printed beside wall time,
because it varies less on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT / "tests")]

GRID = [(k, p) for k in range(3, 21) for p in range(40, 100, 5)]


def make_features(n: int, d: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normalised features of overlapping classes of unequal width, and labels.

    The spectrum of the features decays. Half of the samples of half of the classes are labelled.
    """
    rng = np.random.default_rng(seed)
    spectrum = (1.0 + np.arange(d)) ** -0.5
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0].astype(np.float32)
    centres = rng.normal(size=(n_classes, d)) * spectrum
    width = rng.uniform(0.7, 1.3, size=(n_classes, 1))
    classes = rng.integers(n_classes, size=n)
    X = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, 5000):
        part = classes[start : start + 5000]
        noise = rng.normal(size=(len(part), d)) * spectrum
        X[start : start + 5000] = (centres[part] + width[part] * noise).astype(np.float32)
        X[start : start + 5000] @= rotation
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    labelled = (classes < (n_classes + 1) // 2) & (rng.random(n) < 0.5)
    return X, np.where(labelled, classes, -1)


class Clock:
    """Measures median wall and processor seconds of a call, after a warm-up call."""

    def __init__(self, repeat: int, warm_up: bool = True):
        self.repeat, self.warm_up = repeat, warm_up

    def __call__(self, name: str, call: Callable[[], object]) -> tuple[float, float]:
        if self.warm_up:
            call()
        walls, processors = [], []
        for _ in range(self.repeat):
            wall, processor = time.perf_counter(), _processor_seconds()
            call()
            walls.append(time.perf_counter() - wall)
            processors.append(_processor_seconds() - processor)
        print(f"{name}: {median(walls):.2f} s (processors {median(processors):.2f} s)", flush=True)
        return median(walls), median(processors)


def _processor_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _ratio(name: str, slow: tuple[float, float], fast: tuple[float, float]) -> None:
    print(f"{name}: {slow[0] / fast[0]:.2f} (processors {slow[1] / fast[1]:.2f})")


def grid_search(
    X: np.ndarray, y: np.ndarray, n_jobs: int, neighbours: str = "exact", device: str = "cpu"
) -> Callable[[], object]:
    """A function that runs the whole default grid."""
    from gcdflow.ssddbc import SSDDBCGridSearch
    from sklearn.base import clone

    search = SSDDBCGridSearch(n_jobs=n_jobs, neighbours=neighbours, device=device)
    return lambda: clone(search).fit(X, y)


def warm(n_jobs: int) -> None:
    """Load the compiled code on a small problem."""
    grid_search(*make_features(400, 16, 4), n_jobs)()


def _literal(X: np.ndarray, y: np.ndarray, k: int, percentile: float) -> float:
    from ssddbc.reference import fit_configuration, normalise

    begin = time.perf_counter()
    with threadpool_limits(1):
        fit_configuration(normalise(X), y, k, percentile)
    return time.perf_counter() - begin


def compare_reference(args: argparse.Namespace) -> None:
    """Compare the literal implementation on a sample of the grid with the whole grid search."""
    X, y = make_features(args.n, args.d, args.classes)
    warm(args.jobs)
    fast = Clock(args.repeat, warm_up=False)("grid search", grid_search(X, y, args.jobs))
    step = max(1, len(GRID) // args.literal_cells)
    chosen = GRID[step // 2 :: step][: args.literal_cells]
    with Parallel(n_jobs=args.jobs) as parallel:
        parallel(delayed(_literal)(X[:300], y[:300], 3, 50) for _ in range(args.jobs))
        begin = time.perf_counter()
        seconds = parallel(delayed(_literal)(X, y, k, p) for k, p in chosen)
        wall = time.perf_counter() - begin
    whole = wall * len(GRID) / len(chosen)
    print(
        f"literal reference: {wall:.1f} s for {len(chosen)} configurations (median"
        f" {median(seconds):.2f} s), extrapolated to {len(GRID)}: {whole:.0f} s"
    )
    print(f"literal / grid search: {whole / fast[0]:.0f} (wall)")


def compare_neighbours(args: argparse.Namespace) -> None:
    """Compare one brute-force neighbour search with the whole grid, and print the grid's memory."""
    from sklearn.neighbors import NearestNeighbors

    X, y = make_features(args.n, args.d, args.classes)
    warm(args.jobs)
    clock = Clock(args.repeat, warm_up=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    fast = clock("grid search", grid_search(X, y, args.jobs))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory: {before:.0f} MiB with X of {X.nbytes / 2**20:.0f} MiB, peak {peak:.0f} MiB")
    model = NearestNeighbors(n_neighbors=20, algorithm="brute").fit(X)
    with threadpool_limits(args.jobs):
        slow = clock("kneighbors", lambda: model.kneighbors(X))
    _ratio("grid search / kneighbors", fast, slow)


def compare_growth(args: argparse.Namespace) -> None:
    """Compare n with 2n samples."""
    warm(args.jobs)
    clock = Clock(args.repeat)
    times = [
        clock(f"n = {n}", grid_search(*make_features(n, args.d, args.classes), args.jobs))
        for n in (args.n, 2 * args.n)
    ]
    _ratio("n to 2n", times[1], times[0])


def compare_threads(args: argparse.Namespace) -> None:
    """Compare one thread with two."""
    X, y = make_features(args.n, args.d, args.classes)
    warm(2)
    clock = Clock(args.repeat)
    one = clock("1 thread", grid_search(X, y, 1))
    two = clock("2 threads", grid_search(X, y, 2))
    print(f"1 thread / 2 threads: {one[0] / two[0]:.2f} (wall)")


def compare_approximate(args: argparse.Namespace) -> None:
    """Compare exact with approximate neighbours, in time and in what they choose."""
    from sklearn.metrics import adjusted_rand_score

    X, y = make_features(args.n, args.d, args.classes)
    warm(args.jobs)
    times, fits = [], []
    for neighbours in ("exact", "approximate"):
        search = grid_search(X, y, args.jobs, neighbours)
        times.append(Clock(1, warm_up=False)(neighbours, lambda s=search: fits.append(s())))
        print(f"  {_chosen(fits[-1])}, {_peak():.0f} MiB at most so far")
    _ratio("exact / approximate", *times)
    agreement = adjusted_rand_score(fits[0].labels_, fits[1].labels_)
    print(f"ARI of the chosen clusterings: {agreement:.4f}")


def measure_large(args: argparse.Namespace) -> None:
    """Time the search of many points for n, and for 2n unless told otherwise."""
    warm(args.jobs)
    times = []
    for n in (args.n,) if args.only else (args.n, 2 * args.n):
        path = Path(f"features_{n}.npy")
        X, y = make_features(n, args.d, args.classes)
        np.save(path, X)
        del X
        X, found = np.load(path, mmap_mode="r"), []
        neighbours = "approximate" if args.device == "cpu" else "exact"
        search = grid_search(X, y, args.jobs, neighbours, args.device)
        clock = Clock(1, warm_up=False)
        with OwnMemory() as memory:
            times.append(clock(f"n = {n}", lambda s=search, into=found: into.append(s())))
        print(
            f"  {_chosen(found[0])}, {memory.peak:.0f} MiB of its own,"
            f" {_peak():.0f} MiB with pages of the mapped file"
        )
        path.unlink()
    if len(times) > 1:
        _ratio("n to 2n", times[1], times[0])


def compare_copies(args: argparse.Namespace) -> None:
    """Compare equal rows with as many distinct ones."""
    X, y = make_features(args.n, args.d, args.classes)
    warm(args.jobs)
    clock = Clock(args.repeat)
    distinct = clock("distinct rows", grid_search(X, y, args.jobs))
    for name, rows in (("equal rows", np.zeros(args.n, int)), ("30 rows", np.arange(args.n) % 30)):
        _ratio(name, clock(name, grid_search(X[rows], y, args.jobs)), distinct)


def _chosen(search) -> str:
    recall = "" if search.recall_ is None else f", recall {search.recall_:.4f}"
    return f"{search.best_params_}, {search.n_clusters_} clusters{recall}"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class OwnMemory:
    """Largest memory in use, in MiB, without pages of mapped files, which the system can take back.

    A context manager, which looks once a second.
    """

    def __enter__(self) -> OwnMemory:
        self.peak, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            memory = psutil.Process().memory_info()
            self.peak = max(self.peak, (memory.rss - memory.shared) / 2**20)


def main() -> None:
    """Parse the command line and run one comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    comparisons = {
        "reference": compare_reference,
        "neighbours": compare_neighbours,
        "growth": compare_growth,
        "threads": compare_threads,
        "approximate": compare_approximate,
        "large": measure_large,
        "copies": compare_copies,
    }
    parser.add_argument("comparison", choices=comparisons)
    parser.add_argument("--n", type=int, default=2500, help="samples (default: 2500)")
    parser.add_argument("--d", type=int, default=768, help="features (default: 768)")
    parser.add_argument("--classes", type=int, default=5, help="classes (default: 5)")
    parser.add_argument("--jobs", type=int, default=2, help="threads of both sides (default: 2)")
    parser.add_argument("--repeat", type=int, default=3, help="timed calls (default: 3)")
    parser.add_argument(
        "--literal-cells", type=int, default=8, help="configurations timed (default: 8)"
    )
    parser.add_argument("--device", default="cpu", help="large: cpu, or cuda (default: cpu)")
    parser.add_argument("--only", action="store_true", help="large: n alone, not 2n")
    args = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f};"
        f" n = {args.n}, d = {args.d}, {args.classes} classes, {len(GRID)} configurations"
    )
    comparisons[args.comparison](args)


if __name__ == "__main__":
    main()

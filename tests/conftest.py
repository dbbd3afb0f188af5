import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.settings import DigitsSettings, TrainSettings
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.digits import catalogue
from gcdflow.files.formats import Split

# Threads that wait for others sleep, here and in stages. By default they first count for a while,
# which is most of what a step costs where several processes of two threads share two processors.
# PyTorch and scikit-learn read this when they are imported, which nothing above may do.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# `make test-fast` skips these: the folders whose tests start Snakemake or a browser, and the
# longest files.
_SLOW_FOLDERS = ("browser", "slurm", "workflow")
_SLOW_FILES = (
    *("test_launcher.py", "test_failing_workers.py", "test_ranks.py"),
    "test_training_on_ranks.py",
    *("test_added.py", "test_two_trainings.py", "test_views.py", "test_simgcd.py"),
    *("test_segment.py", "test_guided_segment.py", "test_bad_steps.py", "test_copies.py"),
    *("test_host_waits.py", "test_prediction.py", "test_reference.py", "test_properties.py"),
    *("test_timm_backbone.py", "test_weight_files.py"),
    *("test_fuzz.py", "test_wrong_content.py", "test_spreadsheets.py"),
    *("test_hostile_code.py", "test_hostile_names.py", "test_hostile_sizes.py"),
)


_SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"


def pytest_configure(config: pytest.Config) -> None:
    """In a new checkout, compile the clustering beside the first stages, which come before it.

    Else each process that clusters first would compile it, for 17 s.
    """
    is_main = not hasattr(config, "workerinput") and config.getoption("numprocesses", None)
    if not is_main or list(_SCRIPTS.glob("gcdflow/ssddbc/__pycache__/*.nbi")):
        return
    script = Path(__file__).with_name("compile_kernels.py")
    environment = {**os.environ, "PYTHONPATH": str(_SCRIPTS)}
    subprocess.Popen([sys.executable, script], env=environment)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests, and run those that start Snakemake or a browser first.

    So no long test is left for one process at the end.
    """
    for item in items:
        if item.path.parent.name in _SLOW_FOLDERS or item.path.name in _SLOW_FILES:
            item.add_marker("slow")
    items.sort(key=lambda item: item.path.parent.name not in _SLOW_FOLDERS)


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """Restore signal handlers, which stages in this process change."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def make_split() -> Callable[..., Split]:
    """A consistent split of ``n`` samples in memory: 3 old classes, every fifth for testing."""

    def make(n: int = 20, seed: int = 0, **changes) -> Split:
        rng = np.random.default_rng(seed)
        train = np.arange(n) % 5 != 4
        labelled = train & (rng.random(n) < 0.5)
        arrays = {
            "indices": rng.permutation(10 * n)[:n].astype(np.int64),
            "train_mask": train,
            "labelled_mask": labelled,
            "labels": np.where(labelled, rng.integers(0, 3, n), -1),
            "source": {"dataset": "digits"},
            "paths": np.array([], dtype=np.str_),
            "old_class_names": np.array(["ant", "bee", "cat"]),
        }
        return Split(**(arrays | changes))

    return make


@pytest.fixture
def tiny_settings() -> TrainSettings:
    """A model of a few thousand weights for 8 × 8 images."""
    from example_files import TINY  # which imports PyTorch

    return TrainSettings.model_validate(TINY)


@pytest.fixture(scope="session")
def split_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split of about 250 digits; the rest are test samples, which training does not use."""
    directory = tmp_path_factory.mktemp("split")
    whole = catalogue(DigitsSettings())
    few = replace(whole, train_mask=whole.train_mask & (np.arange(len(whole.classes)) < 300))
    split, truth = split_catalogue(few, DigitsSettings())
    split.save(directory / "split.npz")
    truth.save(directory / "truth.npz")
    return directory / "split.npz"

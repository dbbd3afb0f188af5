"""Files that hold code: nothing of them runs."""

from __future__ import annotations

import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from example_files import torch_bytes, written
from gcdflow.config.runs import load_runs
from gcdflow.data.datasets.cifar_files import LAYOUTS, read_batch, read_class_names
from gcdflow.errors import InputError
from gcdflow.files.formats import Features, PseudoLabels
from gcdflow.files.torch_files import load_torch_file
from gcdflow.models.weights import convert_weights
from gcdflow.training.checkpoint import Checkpoint


def _converted(path: Path) -> None:
    """Read a weight file of PyTorch."""
    convert_weights(path, path.with_name("out"))


class Payload:
    """An object whose unpickling would create a file."""

    def __init__(self, trap: Path):
        self._trap = str(trap)

    def __reduce__(self):
        return os.mkdir, (self._trap,)


def _old_torch(value: object) -> bytes:
    return torch_bytes(value, _use_new_zipfile_serialization=False)


def _npy(value: object) -> bytes:
    return written(partial(np.save, arr=np.array([value, None], dtype=object)))


def _npz(value: object) -> bytes:
    labels = np.array([value, None], dtype=object)
    return written(partial(np.savez, features=np.ones((2, 2)), labels=labels))


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("x.npz", _npz, Features.load),
        ("x.npz", pickle.dumps, Features.load),
        ("x.npz", _npz, PseudoLabels.load),
        ("x.npy", _npy, Features.load),
        ("x.npy", pickle.dumps, Features.load),
        ("x.pt", lambda p: torch_bytes({"format": 1, "rolling": p}), Checkpoint.load),
        ("x.pt", _old_torch, Checkpoint.load),
        ("x.pt", pickle.dumps, Checkpoint.load),
        ("x.pth", lambda p: torch_bytes({"teacher": p}), _converted),
        ("x.pth", _old_torch, _converted),
        ("x.pth", pickle.dumps, _converted),
        ("data_batch_1", lambda p: pickle.dumps({"data": p}), read_batch),
        ("data_batch_1", lambda p: pickle.dumps({"data": p}, 0), read_batch),
        ("meta", pickle.dumps, lambda path: read_class_names(path, LAYOUTS["cifar100"])),
    ],
)
def test_code_in_files_is_not_run(tmp_path, name, write, read):
    trap, path = tmp_path / "executed", tmp_path / name
    path.write_bytes(write(Payload(trap)))
    with pytest.raises(InputError, match=rf"{name}: ") as error:
        read(path)
    assert str(error.value).isprintable()
    assert not trap.exists()


def test_the_payload_would_run(tmp_path):
    trap = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(trap)))
    assert trap.exists()


def test_looking_into_a_checkpoint_runs_nothing(tmp_path):
    """PyTorch's own reader names what it will not run."""
    trap, path = tmp_path / "executed", tmp_path / "x.pt"
    path.write_bytes(torch_bytes({"a": torch.ones(2), "b": Payload(trap)}))
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        load_torch_file(path)
    assert not trap.exists()


def test_yaml_tags_are_not_followed(tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "c.yaml"
    for tag in ("!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir"):
        path.write_text(f"runs: {tag} ['{trap}']\n")
        with pytest.raises(InputError, match=r"c\.yaml: not valid YAML \(could not determine a co"):
            load_runs(path)
    assert not trap.exists()

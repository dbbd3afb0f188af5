"""The files of CIFAR-10 and CIFAR-100: their layout, how they are fetched, read and checked.

They are Python pickles, which could run any code; here they are read by an unpickler that can make
plain NumPy arrays and nothing else.
"""

from __future__ import annotations

import _codecs
import contextlib
import fcntl
import os
import pickle
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy._core.multiarray import _reconstruct

from gcdflow.errors import InputError

BASE_URL = "https://www.cs.toronto.edu/~kriz"
CHANNELS, SIDE = 3, 32
_PIXELS = CHANNELS * SIDE * SIDE


@dataclass(frozen=True)
class Layout:
    """What a dataset is called on the disk and in its files."""

    archive: str
    md5: str
    folder: str
    files: dict[str, list[str]]
    labels: str
    meta: str
    names: str
    n_classes: int


LAYOUTS = {
    "cifar10": Layout(
        archive="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        files={"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
        labels="labels",
        meta="batches.meta",
        names="label_names",
        n_classes=10,
    ),
    "cifar100": Layout(
        archive="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        files={"train": ["train"], "test": ["test"]},
        labels="fine_labels",
        meta="meta",
        names="fine_label_names",
        n_classes=100,
    ),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Makes lists, numbers, texts and NumPy arrays; refuses the names of anything else."""

    _ALLOWED: ClassVar = {
        ("numpy", "dtype"): np.dtype,
        ("numpy", "ndarray"): np.ndarray,
        ("_codecs", "encode"): _codecs.encode,
        # NumPy 1 and 2 name the same function differently.
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}, no part of such data")
        return self._ALLOWED[module, name]


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            # NumPy complains of how NumPy 1.x wrote its types, which nobody can change now.
            warnings.simplefilter("ignore")
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged pickle fails in whatever it happens to call
        raise InputError(f"{path}: not a readable CIFAR file ({error})") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: not a CIFAR file (found {type(content).__name__}, expected dict)"
        )
    return content


def read_batch(path: Path) -> dict[str, Any]:
    """A file of images; its ``data`` is uint8 (n, 3072).

    Raises
    ------
    InputError
        If it is missing, no pickle of plain data, or its images are not as expected.
    """
    content = _read_pickle(path)
    data = content.get("data")
    is_array = isinstance(data, np.ndarray)
    if not (is_array and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == _PIXELS):
        found = f"{data.dtype} {data.shape}" if is_array else type(data).__name__
        raise InputError(f"{path}: 'data' is {found}, expected a uint8 array (n, {_PIXELS})")
    return content


def read_labels(path: Path, layout: Layout) -> np.ndarray:
    """Class ids of a file of images, int64 (n,).

    Raises
    ------
    InputError
        As :func:`read_batch`, or if there is not one class id for each image.
    """
    content = read_batch(path)
    labels, n_images = content.get(layout.labels), len(content["data"])
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise InputError(f"{path}: '{layout.labels}' is no list of whole numbers")
    if len(labels) != n_images:
        raise InputError(f"{path}: {len(labels)} '{layout.labels}' for {n_images} images")
    strange = [label for label in labels if not 0 <= label < layout.n_classes]
    if strange:
        raise InputError(
            f"{path}: '{layout.labels}' holds {strange[0]}, expected 0…{layout.n_classes - 1}"
        )
    return np.array(labels, dtype=np.int64)


def read_class_names(path: Path, layout: Layout) -> list[str]:
    """Names of the classes in order of their ids.

    Raises
    ------
    InputError
        If the file cannot be read, or does not hold that many different names.
    """
    names = _read_pickle(path).get(layout.names)
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or len(names) != layout.n_classes or len(set(names)) != len(names):
        raise InputError(f"{path}: '{layout.names}' is no list of {layout.n_classes} names")
    return names


# -- download --------------------------------------------------------------------------------------


def fetched(root: Path, layout: Layout, download: bool) -> Path:
    """The dataset's folder; if it is missing, unpacked from its archive, which may be fetched.

    Raises
    ------
    InputError
        If there is neither the folder nor the right archive.
    """
    folder = root / layout.folder
    if folder.is_dir():
        return folder
    try:
        if download:
            root.mkdir(parents=True, exist_ok=True)
        elif not (root / layout.archive).is_file():
            raise ValueError("dataset.download is false")
        with _one_at_a_time(root):
            if not folder.is_dir():
                _unpack(_archive(root, layout, download), folder)
    except (OSError, ValueError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(
            f"dataset.root: no folder {folder} ({error}); put {layout.archive} (from {BASE_URL}/, "
            f"MD5 {layout.md5}) in {root}, where it will be unpacked"
        ) from None
    return folder


@contextlib.contextmanager
def _one_at_a_time(directory: Path) -> Iterator[None]:
    """Let the runs of all superclasses, which start together, fetch the archive only once."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # Some network disks have no locks: then it is fetched more than once, with equal result.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _archive(root: Path, layout: Layout, download: bool) -> Path:
    """The archive in the root, its checksum verified."""
    import pooch

    archive = root / layout.archive
    if archive.is_file() and pooch.file_hash(str(archive), alg="md5") == layout.md5:
        return archive
    if not download:
        raise ValueError(f"{archive} has another MD5 checksum, and dataset.download is false")
    url = f"{BASE_URL}/{layout.archive}"
    try:
        pooch.retrieve(url, f"md5:{layout.md5}", fname=layout.archive, path=root)
    except ValueError:
        raise ValueError(f"what {url} gives has another MD5 checksum") from None
    except OSError as error:
        raise OSError(f"{url} cannot be fetched: {error}") from None
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack beside the folder's place, then move it there: it is never half there."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(temporary, filter="data")
        try:
            os.replace(Path(temporary) / folder.name, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise

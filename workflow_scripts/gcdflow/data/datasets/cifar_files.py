"""The files of CIFAR-10 and CIFAR-100: layout, download, reading and checks.

The files are Python pickles, which could run any code. The unpickler of this module can make only
plain data and NumPy arrays.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pickle
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gcdflow.errors import InputError

BASE_URL = "https://www.cs.toronto.edu/~kriz"
CHANNELS, SIDE = 3, 32
_PIXELS = CHANNELS * SIDE * SIDE


@dataclass(frozen=True)
class Layout:
    """Names of a dataset's files and of the keys in them."""

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


class _PlainArray:
    """An array as a pickle describes it; it allocates nothing beyond the bytes in the file."""

    def __init__(self, *arguments: object):
        self._state: object = None

    def __setstate__(self, state: object) -> None:
        self._state = state

    def pixels(self) -> np.ndarray:
        """The array, uint8 (n, pixels); raises ValueError and others if it is not such an array."""
        _version, shape, dtype, _fortran, content = self._state
        if str(dtype) != "uint8" or len(shape) != 2 or shape[1] != _PIXELS:
            raise ValueError(f"is {dtype} {shape}")
        if isinstance(content, str):
            content = content.encode("latin1")
        if not isinstance(content, bytes) or len(content) != shape[0] * shape[1]:
            raise ValueError(f"has the shape {shape} and {len(content)} bytes")
        return np.frombuffer(content, dtype=np.uint8).reshape(shape)


class _PlainType:
    """A dtype as a pickle describes it."""

    def __init__(self, name: str, *arguments: object):
        is_short = re.fullmatch(r"[|<>=]?[a-zA-Z][0-9]{0,2}", name)
        self._name = str(np.dtype(name)) if is_short else "something else"

    def __setstate__(self, state: object) -> None:
        pass

    def __str__(self) -> str:
        return self._name


def _bytes_of(text: str, encoding: str) -> bytes:
    """Stand-in for ``_codecs.encode``, with which old pickle protocols store bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refused the encoding {encoding!r}")
    return text.encode("latin1")


# Python's unpickler, because the one in C allocates a table of any length that a pickle names.
class _ArrayUnpickler(pickle._Unpickler):
    """Makes lists, numbers, texts and stand-ins for arrays; refuses everything else."""

    _ALLOWED: ClassVar = {
        ("numpy", "dtype"): _PlainType,
        ("numpy", "ndarray"): _PlainArray,
        ("_codecs", "encode"): _bytes_of,
        # NumPy 1 and 2 name the same function differently.
        ("numpy.core.multiarray", "_reconstruct"): _PlainArray,
        ("numpy._core.multiarray", "_reconstruct"): _PlainArray,
    }

    # Without BYTEARRAY8, which allocates any number of bytes before it reads them.
    dispatch: ClassVar = {
        code: method
        for code, method in pickle._Unpickler.dispatch.items()
        if code != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}, no part of such data")
        return self._ALLOWED[module, name]


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        # From memory, because reading from a file allocates as much as a text claims to have.
        content = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged pickle may raise anything
        reason = str(error) or type(error).__name__
        raise InputError(f"{path}: not a readable CIFAR file ({reason})") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: not a CIFAR file (found {type(content).__name__}, expected dict)"
        )
    return content


def read_batch(path: Path) -> dict[str, Any]:
    """Read a file of images; its ``data`` is uint8 (n, 3072).

    Raises
    ------
    InputError
        If the file is missing, is no pickle of plain data, or its images are not as expected.
    """
    content = _read_pickle(path)
    data = content.get("data")
    try:
        if not isinstance(data, _PlainArray):
            raise ValueError(f"is {type(data).__name__}")
        content["data"] = data.pixels()
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: 'data' {error}, expected a uint8 array (n, {_PIXELS})") from None
    return content


def read_labels(path: Path, layout: Layout) -> np.ndarray:
    """Class ids of a file of images, int64 (n,).

    Raises
    ------
    InputError
        As :func:`read_batch`, or if the file does not have one class id for each image.
    """
    content = read_batch(path)
    labels, n_images = content.get(layout.labels), len(content["data"])
    if not isinstance(labels, list) or not all(map(_is_class_id, labels)):
        raise InputError(f"{path}: '{layout.labels}' is not a list of whole numbers")
    if len(labels) != n_images:
        raise InputError(f"{path}: {len(labels)} '{layout.labels}' for {n_images} images")
    strange = [label for label in labels if not 0 <= label < layout.n_classes]
    if strange:
        raise InputError(
            f"{path}: '{layout.labels}' holds {strange[0]}, expected 0…{layout.n_classes - 1}"
        )
    return np.array(labels, dtype=np.int64)


def _is_class_id(label: object) -> bool:
    """Whether it is a whole number short enough to print; a pickle may hold millions of digits."""
    return type(label) is int and abs(label) < 2**31


def read_class_names(path: Path, layout: Layout) -> list[str]:
    """Names of the classes in order of their ids.

    Raises
    ------
    InputError
        If the file cannot be read, or does not hold the right number of different names.
    """
    names = _read_pickle(path).get(layout.names)
    is_list = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    if not is_list or len(names) != layout.n_classes or len(set(names)) != len(names):
        raise InputError(f"{path}: '{layout.names}' is not a list of {layout.n_classes} names")
    return names


# -- download --------------------------------------------------------------------------------------


def fetched(root: Path, layout: Layout, download: bool) -> Path:
    """The dataset's folder; if it is missing, the archive is downloaded and unpacked.

    Raises
    ------
    InputError
        If neither the folder nor the right archive is available.
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
    """Lock the directory, so that runs which start together download the archive only once."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # Some network disks have no locks; then several runs download it, with the same result.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _archive(root: Path, layout: Layout, download: bool) -> Path:
    """The archive in the root, with a verified checksum."""
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
        raise ValueError(f"the file from {url} has another MD5 checksum") from None
    except OSError as error:
        raise OSError(f"{url} cannot be downloaded: {error}") from None
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack beside the final place, then move the folder there; it is never incomplete."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        complete = Path(temporary) / folder.name
        _extract(archive, complete)
        try:
            os.replace(complete, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise


def _extract(archive: Path, folder: Path) -> None:
    """Make the folder of an archive that holds files of one folder of this name, and nothing else.

    Not by ``extractall``, whose filter for hostile archives came with Python 3.11.4.
    """
    folder.mkdir()
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            parts = Path(member.name).parts
            if member.isdir() and parts in ((), (folder.name,)):
                continue
            if not member.isfile() or len(parts) != 2 or parts[0] != folder.name:
                raise ValueError(
                    f"{archive} holds {member.name}, expected only files of {folder.name}"
                )
            with tar.extractfile(member) as source, (folder / parts[1]).open("xb") as file:
                shutil.copyfileobj(source, file)
    if not any(folder.iterdir()):
        raise ValueError(f"{archive} is empty")

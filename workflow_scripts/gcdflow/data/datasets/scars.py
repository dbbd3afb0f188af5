"""Stanford Cars, with the old classes of the Semantic Shift Benchmark (SSB).

On disk (as its archives unpack): ``<root>/stanford_cars/`` with ``devkit/cars_meta.mat``,
``devkit/cars_train_annos.mat``, ``cars_train/`` and ``cars_test/``. The test labels are a separate
download, ``cars_test_annos_withlabels.mat``, in this folder or in ``devkit/``; the devkit's own
``cars_test_annos.mat`` has no labels.
"""

from __future__ import annotations

import math
import multiprocessing
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcdflow.data.datasets.catalogue import Catalogue, old_class_ids, published_split
from gcdflow.data.places import found_folder
from gcdflow.errors import InputError

if TYPE_CHECKING:
    from gcdflow.config.settings import BenchmarkSettings

_MOST_BYTES = 2**26  # of a variable; the largest real one has about 10 MB
_MOST_ENTRIES = 10**6
_COMPRESSED = 15  # type of a compressed element
_TEST_LABELS = "cars_test_annos_withlabels.mat"


def catalogue(settings: BenchmarkSettings) -> Catalogue:
    """Read samples, classes and split from the devkit's files, in file order.

    Raises
    ------
    InputError
        If the folder or a file is missing, or a file is not as expected.
    """
    folder = found_folder(settings)
    names = _class_names(folder / "devkit" / "cars_meta.mat")
    train_paths, train_classes = _annotations(
        folder / "devkit" / "cars_train_annos.mat", "cars_train", len(names)
    )
    test_paths, test_classes = _annotations(_test_file(folder), "cars_test", len(names))
    return Catalogue(
        classes=np.concatenate([train_classes, test_classes]),
        train_mask=np.arange(len(train_paths) + len(test_paths)) < len(train_paths),
        class_names=names,
        old_classes=old_class_ids(settings.old_classes, names, published_split("stanford_cars")),
        source={"dataset": "scars", "root": str(folder)},
        paths=train_paths + test_paths,
    )


def _test_file(folder: Path) -> Path:
    places = [folder / "devkit" / _TEST_LABELS, folder / _TEST_LABELS]
    for path in places:
        if path.is_file():
            return path
    without_labels = folder / "devkit" / "cars_test_annos.mat"
    found = f" (found only {without_labels}, without labels)" if without_labels.is_file() else ""
    raise InputError(f"{places[0]}: no such file{found}; put {_TEST_LABELS} there or in {folder}")


def _class_names(path: Path) -> list[str]:
    names = np.atleast_1d(_read_mat(path, "class_names")).tolist()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{path}: 'class_names' is not a list of names")
    return names


def _annotations(path: Path, images: str, n_classes: int) -> tuple[list[str], np.ndarray]:
    """Paths of the images, and their class ids from 0, int64 (n,)."""
    annotations = np.atleast_1d(_read_mat(path, "annotations"))
    missing = sorted({"fname", "class"} - set(annotations.dtype.names or ()))
    if missing:
        raise InputError(f"{path}: 'annotations' have no field '{missing[0]}'")
    files, numbers = annotations["fname"].tolist(), annotations["class"].tolist()
    for position, (file, number) in enumerate(zip(files, numbers, strict=True), start=1):
        if not isinstance(file, str) or not file:
            raise InputError(f"{path}, entry {position}: 'fname' is not a file name")
        if not np.isscalar(number) or number not in range(1, n_classes + 1):
            raise InputError(
                f"{path}, entry {position}: 'class' is {number}, expected 1…{n_classes}"
            )
    if len(set(files)) != len(files):
        raise InputError(f"{path}: lists an image a second time")
    return [f"{images}/{file}" for file in files], np.array(numbers, dtype=np.int64) - 1


def _read_mat(path: Path, name: str) -> Any:
    """A variable of a MATLAB file; dimensions of length one are dropped."""
    from scipy.io import loadmat, whosmat

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        _check_sizes(path.read_bytes())
        for variable, shape, _ in whosmat(path, appendmat=False):
            if math.prod(shape) > _MOST_ENTRIES:
                raise ValueError(f"'{variable}' declares the shape {shape}")
        content = _in_a_child(
            lambda: loadmat(path, appendmat=False, squeeze_me=True, variable_names=[name])
        )
    except Exception as error:  # a damaged file may raise anything
        raise InputError(
            f"{path}: not a readable MATLAB file ({str(error) or type(error).__name__})"
        ) from None
    if name not in content:
        raise InputError(f"{path}: has no variable '{name}'")
    return content[name]


def _in_a_child(read: Callable[[], dict]) -> dict:
    """Call a function in a child process, because SciPy's reader may crash; return its result.

    Raises
    ------
    ValueError
        If the function raised an error, or the process ended without a result.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def call() -> None:
        try:
            result = (True, read())
        except Exception as error:
            result = (False, ValueError(f"{type(error).__name__}: {error}"))
        theirs.send(result)

    process = context.Process(target=call)
    process.start()
    theirs.close()
    try:
        is_good, result = ours.recv()
    except EOFError:
        raise ValueError("reading it ended in a crash") from None
    finally:
        process.kill()
        process.join()
        ours.close()
    if not is_good:
        raise result
    return result


def _check_sizes(content: bytes) -> None:
    """Raise ValueError if a variable would be much larger in memory than in the file."""
    if not content.startswith(b"MATLAB 5.0 MAT-file"):
        raise ValueError("no file of MATLAB 5")
    tag = struct.Struct("<II" if content[126:128] == b"IM" else ">II")
    at = 128
    while at + tag.size <= len(content):
        kind, size = tag.unpack_from(content, at)
        at += tag.size
        if at + size > len(content):
            raise ValueError("cut off")
        if kind == _COMPRESSED:
            start = zlib.decompressobj().decompress(content[at : at + size], tag.size)
            size_within = tag.unpack(start)[1]
            if size_within > _MOST_BYTES:
                raise ValueError(f"a variable declares {size_within} bytes")
        at += size

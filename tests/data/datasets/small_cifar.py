"""A small copy of CIFAR in pickles of Python 2 and NumPy 1, and the names in it."""

import json
from pathlib import Path

import numpy as np
from gcdflow.config.settings import CIFARSettings
from gcdflow.data.datasets import cifar
from gcdflow.data.datasets.catalogue import published_split

TABLE = json.loads(
    (Path(cifar.__file__).parent / "data" / "cifar100_superclasses.json").read_text()
)
NAMES_100 = published_split("cifar100")["class_names"]
NAMES_10 = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


# -- the official format ---------------------------------------------------------------------------


def text(value: bytes) -> bytes:
    """A Python 2 string in a pickle (BINSTRING); bytes of arrays have the same type."""
    return b"T" + len(value).to_bytes(4, "little") + value


def array(value: np.ndarray) -> bytes:
    """An array, pickled as by NumPy 1 under Python 2."""
    shape = b"(" + b"".join(b"J" + n.to_bytes(4, "little") for n in value.shape) + b"t"
    name = value.dtype.str[1:].encode()
    kind = (
        b"cnumpy\ndtype\n(" + text(name) + b"K\x00K\x01tR"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        b"(K\x01" + shape + kind + b"\x89" + text(value.tobytes()) + b"tb"
    )


def python2(content: dict) -> bytes:
    """A pickle (protocol 2) of a dictionary of arrays, lists and texts, as from Python 2."""

    def item(value) -> bytes:
        if isinstance(value, np.ndarray):
            return array(value)
        if isinstance(value, list):
            return b"](" + b"".join(map(item, value)) + b"e"
        if isinstance(value, int):
            return b"J" + value.to_bytes(4, "little", signed=True)
        return text(value.encode())

    pairs = b"".join(text(key.encode()) + item(value) for key, value in content.items())
    return b"\x80\x02}(" + pairs + b"u."


def pixels(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)


def write_cifar10(root: Path) -> Path:
    """Five batches of 20 images and a test batch of 10; image i of each has class i % 10."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batches = [(f"data_batch_{i}", 20) for i in range(1, 6)] + [("test_batch", 10)]
    for seed, (name, n) in enumerate(batches):
        content = {
            "batch_label": "a batch",
            "labels": [i % 10 for i in range(n)],
            "data": pixels(n, seed),
            "filenames": ["a.png"] * n,
        }
        (folder / name).write_bytes(python2(content))
    meta = {"num_cases_per_batch": 20, "label_names": NAMES_10, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2(meta))
    return folder


def write_cifar100(root: Path) -> Path:
    """300 training and 100 test images; image i of each has class 99 - i % 100."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for seed, (name, n) in enumerate([("train", 300), ("test", 100)]):
        fine = [99 - i % 100 for i in range(n)]
        content = {
            "filenames": ["a.png"] * n,
            "batch_label": "a batch",
            "fine_labels": fine,
            "coarse_labels": [TABLE["fine_to_coarse"][c] for c in fine],
            "data": pixels(n, seed),
        }
        (folder / name).write_bytes(python2(content))
    names = {"fine_label_names": NAMES_100, "coarse_label_names": TABLE["coarse_names"]}
    (folder / "meta").write_bytes(python2(names))
    return folder


def settings(root: Path, name: str = "cifar10", **changes) -> CIFARSettings:
    return CIFARSettings(**({"name": name, "root": str(root), "download": False} | changes))

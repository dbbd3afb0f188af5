"""Read files of ``torch.save`` that may be broken or hostile.

``torch.load(weights_only=True)`` runs no code of a file, but trusts its sizes: it allocates what a
member of the archive declares, makes a tensor that is larger than its member if the pickle says so
(and then reads foreign memory), and ignores checksums. So sizes and checksums of the archive are
checked first, and the file is mapped: a tensor is a part of its bytes, or is refused.
"""

from __future__ import annotations

import argparse
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_PLAIN = (bool, int, float, str, type(None))


def load_torch_file(path: str | Path, *, legacy: bool = False) -> Any:
    """What ``torch.save`` wrote, with tensors on the CPU.

    Parameters
    ----------
    legacy : bool
        Also read the format from before PyTorch 1.6, which is no archive and has no checksums.

    Raises
    ------
    Exception
        Of any kind, if the file is damaged, or holds more than tensors and plain values.
    """
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how other versions wrote it
        is_archive = file.read(4) == b"PK\3\4"  # as PyTorch tells them apart
        if is_archive:
            _check_archive(file)
        elif not legacy:
            raise ValueError("not an archive of torch.save")
        file.seek(0)
        # Without checks, from memory: a file makes room for as much as a pickle asks of it.
        content = str(path) if is_archive else io.BytesIO(file.read())
        # DINO's full checkpoints hold the command line of their training beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace] if legacy else []):
            return torch.load(content, map_location="cpu", weights_only=True, mmap=is_archive)


def check_plain(value: object) -> None:
    """Make sure that a value is made of plain values, and of tensors that fit into their memory.

    Raises
    ------
    ValueError
        If it is not, or a tensor holds NaN or infinities.
    """
    left = [value]
    while left:  # not recursive: a hostile file nests as deeply as it likes
        item = left.pop()
        if type(item) in (list, tuple):
            left += item
        elif isinstance(item, dict):
            left += [*item.keys(), *item.values()]
        elif isinstance(item, Tensor):
            check_tensor(item)
        elif type(item) not in _PLAIN:
            raise ValueError(f"holds a {type(item).__name__}")


def check_tensor(tensor: Tensor) -> None:
    """Make sure that a tensor is an ordinary one, within its memory and finite (ValueError)."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise ValueError("holds a tensor of an unusual kind")
    # With a stride of 0 a tensor of one number could be of any size.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"holds a tensor {tuple(tensor.shape)} of fewer numbers than that")
    if not torch.isfinite(tensor).all():
        raise ValueError("holds numbers that are NaN or infinite")


# -- the archive -----------------------------------------------------------------------------------


def _check_archive(file: io.BufferedReader) -> None:
    """Sizes, checksums and storages of an archive; ValueError and others if something is wrong."""
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = {info.filename.lower() for info in members}  # PyTorch's reader ignores the case
        if not members or len(names) != len(members) or archive.comment:
            raise ValueError("not an archive as torch.save writes it")
        # PyTorch's reader knows nothing of archives behind other data.
        if min(info.header_offset for info in members) != 0:
            raise ValueError("other data stands before the archive")
        if any(info.compress_type != zipfile.ZIP_STORED for info in members):
            raise ValueError("holds compressed members, which torch.save does not write")
        if sum(info.file_size for info in members) > size:
            raise ValueError("declares more data than the file has")
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")

"""Image sources: from sample positions to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from gcdflow.errors import InputError


class Images(Protocol):
    """Pixels of the samples of a split, addressed by position (not by sample id).

    Attributes
    ----------
    in_memory : bool
        Reading costs nothing, so that worker processes would only slow it down.
    """

    in_memory: bool

    def __len__(self) -> int: ...

    def read(self, positions: Sequence[int]) -> Sequence[torch.Tensor]:
        """Images as uint8 tensors (channels, height, width), in the order asked for."""
        ...


class ArrayImages:
    """Images held in one array.

    Parameters
    ----------
    array : ndarray of uint8, shape (n, channels, height, width)
    """

    in_memory = True

    def __init__(self, array: np.ndarray):
        self._array = torch.from_numpy(np.ascontiguousarray(array))

    def __len__(self) -> int:
        return len(self._array)

    def read(self, positions: Sequence[int]) -> torch.Tensor:
        """Images as one uint8 tensor (len(positions), channels, height, width)."""
        return self._array[torch.as_tensor(positions, dtype=torch.int64)]


class FileImages:
    """RGB images decoded from files when they are asked for.

    Parameters
    ----------
    root : Path
        Folder that the paths are relative to.
    paths : sequence of str, shape (n,)
    """

    in_memory = False

    def __init__(self, root: Path, paths: Sequence[str]):
        self._root = Path(root)
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, positions: Sequence[int]) -> list[torch.Tensor]:
        """Images as uint8 tensors (3, height, width), each of its own size."""
        return [self._decode(self._root / self._paths[i]) for i in positions]

    def _decode(self, path: Path) -> torch.Tensor:
        try:
            with Image.open(path) as image:
                pixels = np.array(image.convert("RGB"))
        except FileNotFoundError:
            raise InputError(f"{path}: no such image") from None
        except (OSError, UnidentifiedImageError, ValueError) as error:
            raise InputError(f"{path}: not a readable image ({error})") from None
        return torch.from_numpy(pixels).permute(2, 0, 1)

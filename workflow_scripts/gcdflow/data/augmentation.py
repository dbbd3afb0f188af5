"""Augmentations as pure functions: images and uniform numbers in, a batch of views out.

An augmentation holds no generator: the caller supplies the random numbers, a function of (seed,
epoch, sample id, view). What is the same for all views of an image is done once, by ``prepare``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gcdflow.config.settings import AffineAugmentation, CropAugmentation, Settings
from gcdflow.errors import InputError

_LONGEST_SIDE = 20  # times the shorter side; what an image has beyond, Crop leaves out


class Augmentation(Protocol):
    """What the data loader needs of an augmentation.

    Attributes
    ----------
    n_draws : int, uniform numbers that one view needs
    image_size : int or None, side of the views, where it is fixed
    shortest_side : int or None, side that larger images are shrunk to
    needs_workers : bool, it takes time that worker processes can share
    """

    n_draws: int
    image_size: int | None
    shortest_side: int | None
    needs_workers: bool

    def prepare(self, images: Sequence[np.ndarray]) -> Any:
        """The part that all views share; images are uint8 (H, W, C)."""
        ...

    def view(self, prepared: Any, u: np.ndarray) -> Tensor:
        """Random views (B, C, H, W) of B prepared images; ``u`` is float64 (B, n_draws)."""
        ...

    def evaluation_view(self, prepared: Any) -> Tensor:
        """The same images without randomness, (B, C, H, W)."""
        ...


class Affine:
    """Random affine and elastic maps and stroke weight of a batch of equal-sized images.

    Views are float32 in 0…1.
    """

    image_size = None
    shortest_side = None
    needs_workers = False
    _elastic_grid = 4  # displacements are drawn on a grid of 4 × 4 points and interpolated

    def __init__(self, settings: AffineAugmentation):
        self._settings = settings
        self.n_draws = 7 + 2 * self._elastic_grid**2

    def prepare(self, images: Sequence[np.ndarray]) -> Tensor:
        """The images as one batch, float32 (B, C, H, W) in 0…1.

        Raises
        ------
        InputError
            If they differ in size.
        """
        sizes = sorted({image.shape for image in images})
        if len(sizes) > 1:
            raise InputError(
                f"augmentation 'affine' needs images of one size, found {sizes[0]} and {sizes[1]}; "
                "choose augmentation 'crop'"
            )
        batch = torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
        return batch.float() / 255.0

    def view(self, prepared: Tensor, u: np.ndarray) -> Tensor:
        """Random views; see :class:`Augmentation`."""
        s = self._settings
        grid = F.affine_grid(self._matrices(u[:, :6]), list(prepared.shape), align_corners=False)
        if s.elastic > 0:
            grid = grid + self._displacements(u[:, 7:], prepared.shape[-2:])
        views = F.grid_sample(
            prepared, grid, mode="bicubic", padding_mode="zeros", align_corners=False
        )
        views = views.clamp(0, 1)  # bicubic interpolation overshoots
        if s.stroke > 0:
            exponents = torch.from_numpy((1 + s.stroke) ** (2 * u[:, 6] - 1)).float()
            views = views ** exponents[:, None, None, None]
        return views

    def evaluation_view(self, prepared: Tensor) -> Tensor:
        """The images as they are."""
        return prepared

    def _matrices(self, u: np.ndarray) -> Tensor:
        """Inverse maps (output to input coordinates), float32 (B, 2, 3)."""
        s = self._settings
        centred = 2 * u - 1
        angle = centred[:, 0] * math.radians(s.degrees)
        scale_x, scale_y = 1 + s.scale * centred[:, 1], 1 + s.scale * centred[:, 2]
        shear = s.shear * centred[:, 3]
        # affine_grid's coordinates run from -1 to 1, so a shift by a share of the side is twice it.
        shift = 2 * s.translate * centred[:, 4:6]
        cosine, sine = np.cos(angle), np.sin(angle)
        rows = [
            np.stack([cosine / scale_x, (shear * cosine - sine) / scale_x, shift[:, 0]], axis=1),
            np.stack([sine / scale_y, (shear * sine + cosine) / scale_y, shift[:, 1]], axis=1),
        ]
        return torch.from_numpy(np.stack(rows, axis=1)).float()

    def _displacements(self, u: np.ndarray, size: Sequence[int]) -> Tensor:
        """Smooth displacements in grid coordinates, float32 (B, H, W, 2)."""
        side = self._elastic_grid
        coarse = 2 * self._settings.elastic * (2 * u.reshape(-1, 2, side, side) - 1)
        fine = F.interpolate(
            torch.from_numpy(coarse).float(), size=size, mode="bicubic", align_corners=True
        )
        return fine.permute(0, 2, 3, 1)


class Crop:
    """Resize, crop and flip RGB images of any size.

    Views are uint8: a quarter of the bytes to send to the device, where the backbone normalises.

    Parameters
    ----------
    settings : CropAugmentation
        With both sizes; :func:`gcdflow.models.backbones.augmentation_of` fills in the model's.
    """

    n_draws = 3
    needs_workers = True

    def __init__(self, settings: CropAugmentation):
        self._settings = settings
        self.image_size = settings.image_size
        self.shortest_side = settings.resize

    def prepare(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """Images with the shorter side resized, uint8 (3, H, W) each."""
        return [self._resized(torch.from_numpy(image).permute(2, 0, 1)) for image in images]

    def view(self, prepared: list[Tensor], u: np.ndarray) -> Tensor:
        """Random crops; see :class:`Augmentation`."""
        return torch.stack(
            [self._random_crop(image, *draws) for image, draws in zip(prepared, u, strict=True)]
        )

    def evaluation_view(self, prepared: list[Tensor]) -> Tensor:
        """Centre crops."""
        from torchvision.transforms.v2 import functional as TF

        return torch.stack([TF.center_crop(image, [self.image_size]) for image in prepared])

    def _random_crop(self, image: Tensor, top: float, left: float, flip: float) -> Tensor:
        side = self.image_size
        height, width = image.shape[-2:]
        y = int(top * (height - side + 1))
        x = int(left * (width - side + 1))
        image = image[:, y : y + side, x : x + side]
        return image.flip(-1) if self._settings.flip and flip < 0.5 else image

    def _resized(self, image: Tensor) -> Tensor:
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as TF

        # Of a strip the middle is enough: 3 × 4000 pixels would become 260 MB by enlarging.
        longest = _LONGEST_SIDE * min(image.shape[-2:])
        height, width = (min(side, longest) for side in image.shape[-2:])
        if (height, width) != tuple(image.shape[-2:]):
            image = TF.center_crop(image, [height, width])
        mode = InterpolationMode(self._settings.interpolation or "bicubic")
        return TF.resize(image, [self.shortest_side], mode, antialias=True)


AUGMENTATIONS = {"affine": Affine, "crop": Crop}


def build_augmentation(settings: Settings) -> Augmentation:
    """The augmentation that a configuration names."""
    return AUGMENTATIONS[settings.name](settings)

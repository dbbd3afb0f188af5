"""Augmentations as pure functions: images and uniform numbers in, a batch of views out.

An augmentation has ``n_draws`` (uniform numbers that one view needs), ``view(images, u)`` for
training and ``evaluation_view(images)``. It holds no generator: the caller supplies the numbers, a
function of (seed, epoch, sample id, view).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gcdflow.config import AffineAugmentation, CropAugmentation, Settings
from gcdflow.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Augmentation(Protocol):
    """What the data loader needs of an augmentation."""

    n_draws: int
    image_size: int | None

    def view(self, images: Sequence[Tensor], u: np.ndarray) -> Tensor:
        """Random views, float32 (B, C, H, W), of B uint8 images; ``u`` is float64 (B, n_draws)."""
        ...

    def evaluation_view(self, images: Sequence[Tensor]) -> Tensor:
        """The same images without randomness, float32 (B, C, H, W)."""
        ...


def _as_batch(images: Sequence[Tensor]) -> Tensor:
    if not isinstance(images, Tensor):
        sizes = sorted({tuple(image.shape) for image in images})
        if len(sizes) > 1:
            raise InputError(
                f"augmentation 'affine' needs images of one size, found {sizes[0]} and {sizes[1]}; "
                "choose augmentation 'crop'"
            )
        images = torch.stack(list(images))
    return images.float() / 255.0


class Affine:
    """Random affine and elastic maps and stroke weight of a batch of equal-sized images."""

    image_size = None
    _elastic_grid = 4  # displacements are drawn on a grid of 4 × 4 points and interpolated

    def __init__(self, settings: AffineAugmentation):
        self._settings = settings
        self.n_draws = 7 + 2 * self._elastic_grid**2

    def view(self, images: Sequence[Tensor], u: np.ndarray) -> Tensor:
        """Views of equal-sized images; see :class:`Augmentation`."""
        s = self._settings
        batch = _as_batch(images)
        grid = F.affine_grid(self._matrices(u[:, :6]), list(batch.shape), align_corners=False)
        if s.elastic > 0:
            grid = grid + self._displacements(u[:, 7:], batch.shape[-2:])
        views = F.grid_sample(
            batch, grid, mode="bicubic", padding_mode="zeros", align_corners=False
        )
        views = views.clamp(0, 1)  # bicubic interpolation overshoots
        if s.stroke > 0:
            exponents = torch.from_numpy((1 + s.stroke) ** (2 * u[:, 6] - 1)).float()
            views = views ** exponents[:, None, None, None]
        return views

    def evaluation_view(self, images: Sequence[Tensor]) -> Tensor:
        """The images, scaled to 0…1."""
        return _as_batch(images)

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
    """Resize, crop, flip and normalise RGB images of any size."""

    n_draws = 3

    def __init__(self, settings: CropAugmentation):
        self._settings = settings
        self.image_size = settings.image_size
        self._mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
        self._std = torch.tensor(IMAGENET_STD)[:, None, None]

    def view(self, images: Sequence[Tensor], u: np.ndarray) -> Tensor:
        """Random crops; see :class:`Augmentation`."""
        return torch.stack(
            [self._random_crop(image, *draws) for image, draws in zip(images, u, strict=True)]
        )

    def evaluation_view(self, images: Sequence[Tensor]) -> Tensor:
        """Centre crops."""
        return torch.stack([self._centre_crop(image) for image in images])

    def _random_crop(self, image: Tensor, top: float, left: float, flip: float) -> Tensor:
        s = self._settings
        image = self._resized(image)
        height, width = image.shape[-2:]
        y = int(top * (height - s.image_size + 1))
        x = int(left * (width - s.image_size + 1))
        image = image[:, y : y + s.image_size, x : x + s.image_size]
        if s.flip and flip < 0.5:
            image = image.flip(-1)
        return self._normalised(image)

    def _centre_crop(self, image: Tensor) -> Tensor:
        from torchvision.transforms.v2 import functional as TF

        return self._normalised(TF.center_crop(self._resized(image), [self._settings.image_size]))

    def _resized(self, image: Tensor) -> Tensor:
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as TF

        side = self._settings.resize
        return TF.resize(image, [side], InterpolationMode.BICUBIC, antialias=True)

    def _normalised(self, image: Tensor) -> Tensor:
        return (image.float() / 255.0 - self._mean) / self._std


AUGMENTATIONS = {"affine": Affine, "crop": Crop}


def build_augmentation(settings: Settings) -> Augmentation:
    """The augmentation that a configuration names."""
    return AUGMENTATIONS[settings.name](settings)

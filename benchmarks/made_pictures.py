"""Pictures of the size of photographs that benchmarks make for themselves, and a split of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gcdflow.files.formats import Split
from PIL import Image


def write_images(folder: Path, n: int) -> list[str]:
    """Write JPEGs with the size and spectrum of photographs: noise that falls with frequency."""
    rng = np.random.default_rng(0)
    paths = []
    (folder / "class").mkdir(parents=True)
    for i in range(n):
        height, width = (375, 500) if i % 3 else (500, 375)
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        frequency[0, 0] = 1
        spectrum = np.fft.rfft2(rng.normal(size=(3, height, width))) / frequency**1.2
        spectrum[:, 0, 0] = 0
        field = np.fft.irfft2(spectrum, s=(height, width))
        pixels = np.clip(128 + 50 * field / field.std(), 0, 255).astype(np.uint8)
        paths.append(f"class/{i:05d}.jpg")
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / paths[-1], quality=90)
    return paths


def split_of(paths: list[str], root: Path) -> Split:
    """A split of images, of which every other one is labelled."""
    n = len(paths)
    labelled = np.arange(n) % 2 == 0
    return Split(
        indices=np.arange(n),
        train_mask=np.ones(n, dtype=bool),
        labelled_mask=labelled,
        labels=np.where(labelled, 0, -1),
        source={"dataset": "image_folder", "root": str(root)},
        paths=np.array(paths),
        old_class_names=np.array(["class"]),
    )

"""Sort images that a finished run has never seen, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from gcdflow.categories.assignments import Assignments, sort_samples
from gcdflow.categories.newcomers import UNKNOWN_SHARE, Newcomers
from gcdflow.data.datasets import open_images
from gcdflow.data.datasets.images import ArrayImages, FileImages, Images
from gcdflow.data.datasets.seen_photos import photographs_in
from gcdflow.errors import InputError
from gcdflow.files import declared
from gcdflow.files.declared import RunFile
from gcdflow.files.formats import Features, PseudoLabels, Split
from gcdflow.files.records import made_from
from gcdflow.surroundings import available_threads


def predict(
    run: str | Path,
    images: str | Path | Sequence[str | Path] | np.ndarray,
    *,
    unknown: float = UNKNOWN_SHARE,
    weights: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    num_workers: int | None = None,
) -> Assignments:
    """Category and confidence of new images, by the last checkpoint and clustering of a run.

    Nothing is trained or clustered, and nothing is written. A new image goes to the cluster with
    the smallest mean distance to its 3 nearest core points, as the test split does.

    Parameters
    ----------
    run : path
        Folder of a finished run, such as ``runs/photos``.
    images : path, sequence of paths, or uint8 array (m, height, width[, channels])
        A folder with images (also in folders below it), an image file, or several files. For a run
        on images in memory, such as the digits: an array of images as the run has them.
    unknown : float
        Share of the run's own images that lie farther from all categories than what counts as
        resembling none; 0 sorts every image into a category.
    weights : path or None
        Safetensors file of the backbone's weights; None: where the run had it.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:<number>``.
    threads : int or None
        CPU threads; None: all available.
    num_workers : int or None
        Processes that load images; None: one for each thread, none for small images in memory.

    Returns
    -------
    Assignments
        One row for each image, in the order of the files' names, or as given. ``paths`` are
        relative to the folder, or as given, or positions in the array. ``left_out`` holds the
        images that cannot be read or resemble no category, and why. ``save`` writes the table.

    Raises
    ------
    InputError
        If a file of the run is missing or not valid, the files do not belong together, the weight
        file is another one, or there is no image.

    Examples
    --------
    >>> import gcdflow
    >>> found = gcdflow.predict("runs/photos", "new/")  # doctest: +SKIP
    >>> dict(zip(found.paths, found.categories))  # doctest: +SKIP
    {'0001.jpg': 'robin', '0002.jpg': 'new-2'}
    """
    if not 0 <= unknown < 1:
        raise InputError(f"unknown is {unknown}, expected a share from 0 to below 1")
    threads = threads or available_threads()
    files, new = _RunFiles.of(Path(run)), _NewImages.of(images)
    features = Features.of_checkpoint(files.features, files.checkpoint)
    split = Split.load(files.split)
    unreadable = new.opened().unreadable(threads)
    new = new.without(unreadable)
    rows = np.empty((0, features.features.shape[1]), dtype=np.float32)
    if new.names:
        from gcdflow.training.features import features_of_images

        rows = features_of_images(
            files.checkpoint,
            _like_those_of(split, new),
            device=device,
            threads=threads,
            num_workers=num_workers,
            weights=weights or files.weights,
        )
    n, m = len(features.indices), len(new.names)
    newcomers = Newcomers(features.indices.max() + 1 + np.arange(m), rows, unknown)
    inputs = (files.split, files.features, files.pseudo_labels, files.labels, newcomers)
    found, strangers = sort_samples(*inputs, threads=threads)
    is_far = strangers[n:].tolist()
    rows_of = list(zip(new.names, is_far, strict=True))
    unlike = {name: newcomers.why_stranger for name, far in rows_of if far}
    return found.at(
        n + np.flatnonzero(~strangers[n:]),
        [name for name, far in rows_of if not far],
        dict(sorted((unreadable | unlike).items())),
    )


@dataclass(frozen=True)
class _RunFiles:
    """What a run's folder holds for new images."""

    split: Path
    features: Path
    pseudo_labels: Path
    checkpoint: Path
    labels: Path | None
    weights: Path | None

    @classmethod
    def of(cls, folder: Path) -> _RunFiles:
        """Those of the last epoch that was clustered (InputError if they do not fit)."""
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of a run, such as runs/photos")
        final, labels = folder / declared.PSEUDO_FINAL.path, folder / declared.LABELS.path
        is_final = final.is_file() and labels.is_file()
        clustered = sorted(folder.glob(declared.PSEUDO.path.format(epoch="[0-9][0-9][0-9]")))
        if not is_final and not clustered:
            raise InputError(f"{folder}: holds no pseudo labels; make the run first")
        pseudo_labels = final if is_final else clustered[-1]
        epoch = PseudoLabels.load(pseudo_labels).metadata.get("epoch")
        if epoch is None:
            raise InputError(f"{pseudo_labels}: does not name its epoch; make it again")

        def of_epoch(file: RunFile) -> Path:
            return folder / file.path.format(epoch=f"{epoch:03d}")

        features = of_epoch(declared.FEATURES)
        recorded = [Path(path) for path in made_from(features) or []]
        weights = [path for path in recorded if path.suffix == ".safetensors" and path.is_file()]
        return cls(
            split=folder / declared.SPLIT.path,
            features=features,
            pseudo_labels=pseudo_labels,
            checkpoint=of_epoch(declared.CHECKPOINT),
            labels=labels if is_final else None,
            weights=weights[0] if weights else None,
        )


@dataclass(frozen=True)
class _NewImages:
    """Images to sort, by name: files below a folder, or images of an array."""

    names: list[str]
    root: Path
    array: np.ndarray | None = None

    @classmethod
    def of(cls, images: str | Path | Sequence[str | Path] | np.ndarray) -> _NewImages:
        """All images that a caller names (InputError if there are none)."""
        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8 or images.ndim not in (3, 4):
                raise InputError(
                    f"images: found {images.dtype} with {images.ndim} dimensions, expected uint8 "
                    "(images, height, width) or (images, height, width, channels)"
                )
            array = images[..., None] if images.ndim == 3 else images
            new = cls([str(i) for i in range(len(array))], Path(), array)
        elif isinstance(images, str | Path) and Path(images).is_dir():
            new = cls(photographs_in(Path(images)), Path(images))
        else:
            paths = [images] if isinstance(images, str | Path) else images
            new = cls([str(path) for path in paths], Path())
            for name in new.names:
                if not Path(name).is_file():
                    raise InputError(f"{name}: no such image, or folder of images")
        if not new.names:
            where = images if isinstance(images, str | Path) else "images"
            raise InputError(f"{where}: holds no images, expected at least one")
        return new

    def opened(self) -> Images:
        return FileImages(self.root, self.names) if self.array is None else ArrayImages(self.array)

    def without(self, unreadable: Mapping[str, str]) -> _NewImages:
        return replace(self, names=[name for name in self.names if name not in unreadable])


def _like_those_of(split: Split, new: _NewImages) -> Images:
    """The new images; grey ones of their size, if the run's are grey (InputError if they differ).

    Such runs have small images, whose size no augmentation changes.
    """
    images = new.opened()
    if len(split.paths):
        return images
    height, width, channels = open_images(split.source, split.paths).read([0])[0].shape
    if channels != 1:
        return images
    grey = []
    for i, name in enumerate(new.names):
        pixels = images.read([i])[0]
        if pixels.shape[:2] != (height, width):
            raise InputError(
                f"{new.root / name}: has {pixels.shape[1]} × {pixels.shape[0]} pixels, expected "
                f"{width} × {height} as the run's images"
            )
        picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        grey.append(np.array(picture.convert("L"))[:, :, None])
    return ArrayImages(np.stack(grey))

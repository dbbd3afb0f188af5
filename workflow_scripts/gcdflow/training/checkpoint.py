"""Checkpoints: what they hold, and how they are written, read and checked.

A checkpoint is a ``torch.save`` file of tensors and plain values, read with ``weights_only=True``.
Weights that are frozen at the values of a weight file are not stored again: the checkpoint names
the file by its SHA-256 instead. Its settings do the same if a run names a file, so moving the file
does not change a setting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gcdflow.config.runs import validated
from gcdflow.config.settings import (
    BackboneUser,
    Settings,
    TrainSettings,
    ViewsSettings,
    with_named_weights,
    with_weights,
)
from gcdflow.errors import InputError
from gcdflow.files.atomic import atomic_write, canonical_json, sha256_file, sha256_text
from gcdflow.files.declared import CHECKPOINT
from gcdflow.files.json_text import parse_json_object
from gcdflow.files.torch_files import check_plain, load_torch_file
from gcdflow.models.model import Model

FORMAT = 1
_is_sha256 = re.compile("[0-9a-f]{64}").fullmatch
_BY_SHA256 = "sha256:"


@dataclass
class Checkpoint:
    """State of a training at the end of an epoch.

    The fields are those of :data:`gcdflow.files.declared.CHECKPOINT`. ``settings`` name a weight
    file by its SHA-256 (:func:`identified`). ``prototypes`` are (K, out_dim), of a classifier
    (K, feature_dim). ``history`` maps epoch and tag to a number, but for what tells of time.
    """

    epoch: int
    settings: TrainSettings
    split_sha256: str
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    frozen_sha256: str | None = None
    prototypes: Tensor | None = None
    pseudo_sha256: str | None = None
    rolling: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the settings and the split."""
        return fingerprint(self.settings, self.split_sha256)

    def save(self, path: str | Path) -> None:
        """Write the checkpoint atomically; equal states give equal bytes."""
        values = dict(vars(self), settings=canonical_json(self.settings.model_dump()))
        # Text: pickle would remember which of its equal tags were one object.
        values["history"] = canonical_json(self.history)
        with atomic_write(path) as file:
            torch.save({"format": FORMAT, "fingerprint": self.fingerprint, **values}, file)

    @classmethod
    def load(cls, path: str | Path) -> Checkpoint:
        """Read and check a checkpoint; tensors are on the CPU.

        Raises
        ------
        InputError
            If the file is missing, broken, unsafe to read, or not a checkpoint of this project.
        """
        if not Path(path).is_file():
            raise InputError(f"{path}: no such checkpoint")
        try:
            values = load_torch_file(path)
        except Exception as error:
            raise InputError(
                f"{path}: not a checkpoint that can be read safely ({type(error).__name__}); "
                "delete it to train it again"
            ) from None
        if not isinstance(values, dict) or "format" not in values:
            raise InputError(f"{path}: not a checkpoint of this project")
        version = values.pop("format")
        if type(version) is not int or version != FORMAT:
            raise InputError(f"{path}: written by another version of this project; train it again")
        values.setdefault("history", "{}")  # of a version that kept none
        values.pop("scheduler", None)  # of a version that kept one
        if {"format", *values} != set(CHECKPOINT.columns()):
            raise InputError(f"{path}: not a checkpoint of this project")
        try:
            check_plain(values)
            stored = values.pop("fingerprint")
            values["settings"] = parse_json_object(values["settings"])
            values["history"] = _history(values["history"])
            _check_types(values)
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: a damaged checkpoint ({error})") from None
        values["settings"] = validated(TrainSettings, values["settings"], str(path))
        checkpoint = cls(**values)
        if checkpoint.fingerprint != stored:
            raise InputError(f"{path}: fingerprint does not fit the settings it holds")
        if not 0 <= checkpoint.epoch <= checkpoint.settings.total_epochs:
            raise InputError(
                f"{path}: is of epoch {checkpoint.epoch}, expected 0…"
                f"{checkpoint.settings.total_epochs}"
            )
        return checkpoint

    def check_continues(self, path: str | Path, settings: TrainSettings, split_sha256: str) -> None:
        """Refuse to go on with other settings or another split than the checkpoint's.

        Raises
        ------
        InputError
            Naming the first key that differs.
        """
        if self.split_sha256 != split_sha256:
            raise InputError(f"{path}: was trained on another split.npz than the one given")
        ours, theirs = _flat(settings), _flat(self.settings)
        # A warm-up may be continued with any settings that pseudo labels begin with.
        free: set[str] = set()
        if not self.settings.takes_pseudo_labels:
            free = {"pseudo", "warmup_epochs"}
            if settings.takes_pseudo_labels and not self.settings.has_classifier:
                free |= {"objective"}
        # The name of a section comes first: other kinds have other keys.
        for key in sorted(ours.keys() | theirs.keys(), key=lambda key: key.removesuffix("name")):
            if key.split(".")[0] in free or key == "training.skip_bad_steps":  # a limit
                continue
            if ours.get(key) != theirs.get(key):
                raise InputError(
                    f"{path}: was trained with {key} = {theirs.get(key)}, now it is "
                    f"{ours.get(key)}; restore the setting or train again"
                )


def _check_types(values: dict[str, Any]) -> None:
    """Make sure that all is of the kind that :class:`Checkpoint` says (ValueError)."""
    for kind, name in ((f.kind, f.name) for f in CHECKPOINT.fields if f.name in values):
        value = values[name]
        if value is None and kind.endswith(" or none"):
            continue
        if kind.startswith("SHA-256") and not (type(value) is str and _is_sha256(value)):
            raise ValueError(f"{name} is {value!r}, expected 64 hexadecimal digits")
        if kind == "names" and not (isinstance(value, dict) and all(type(k) is str for k in value)):
            raise ValueError(f"{name} is not a dictionary of names")
        if kind.startswith("table") and not (isinstance(value, Tensor) and value.ndim == 2):
            raise ValueError(f"{name} is not a table of numbers")
    if not all(isinstance(value, Tensor) for value in values["weights"].values()):
        raise ValueError("weights holds something other than tensors")
    if type(values["epoch"]) is not int or values["epoch"] < 0:
        raise ValueError(f"epoch is {values['epoch']!r}, expected a whole number")
    if not all(1 <= epoch <= values["epoch"] for epoch in values["history"]):
        raise ValueError(f"history is of other epochs than 1 to {values['epoch']}")
    _check_rolling(values["rolling"])


def _check_rolling(rolling: dict[str, Any]) -> None:
    for name, least in (("first_epoch", 1), ("step", 0), ("n_counted", 0), ("n_skipped", 0)):
        count = rolling.get(name, least)
        if type(count) is not int or count < least:
            raise ValueError(f"{name} is {count!r}, expected a whole number from {least}")
    speeds, sums = rolling.get("speeds", {}), rolling.get("sums", {})
    if type(speeds) is not dict or not all(
        type(epoch) is int and type(speed) is float for epoch, speed in speeds.items()
    ):
        raise ValueError("speeds is not a table of numbers by epoch")
    if type(sums) is not dict or not all(
        isinstance(total, Tensor) and total.ndim == 0 for total in sums.values()
    ):
        raise ValueError("sums is not a table of 0-d tensors")


def _history(text: object) -> dict[int, dict[str, float]]:
    """The history that JSON text holds (ValueError)."""
    history = {}
    for epoch, values in parse_json_object(text).items():
        if not (epoch.isdecimal() and isinstance(values, dict)):
            raise ValueError("history is not a table of epochs")
        if not all(type(value) in (int, float) for value in values.values()):
            raise ValueError("history holds something other than numbers")
        history[int(epoch)] = values
    return dict(sorted(history.items()))


def fingerprint(settings: TrainSettings, split_sha256: str) -> str:
    """SHA-256 of training settings and split, in hexadecimal."""
    return sha256_text(canonical_json([settings.model_dump(), split_sha256]))


def identified(settings: TrainSettings, sha256: str | None) -> TrainSettings:
    """Settings with the SHA-256 of the weight file that they name in place of its path."""
    return with_named_weights(settings, f"{_BY_SHA256}{sha256}")


def located(settings: BackboneUser, weights: str | Path | None) -> BackboneUser:
    """Settings with the path of the weight file that they name; None leaves them as they are."""
    return settings if weights is None else with_named_weights(settings, str(weights))


def _flat(settings: Settings, prefix: str = "") -> dict[str, Any]:
    """All settings, also those at defaults that are not written, by the paths of their keys."""
    flat: dict[str, Any] = {}
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        if isinstance(value, Settings):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def frozen_in_file(model: Model, settings: TrainSettings) -> set[str]:
    """Names of what stays exactly as the weight file of the backbone holds it.

    These are all but those of the trained blocks: parameters and running statistics.
    """
    if _weights_file(settings) is None:
        return set()
    trained = tuple(f"{name}." for name in model.backbone.trained_modules)
    return {
        f"backbone.{name}" for name in model.backbone.state_dict() if not name.startswith(trained)
    }


def frozen_sha256(settings: TrainSettings | ViewsSettings) -> str | None:
    """SHA-256 of the backbone's weight file, if it has one; InputError if it is not there."""
    path = _weights_file(settings)
    if path is None:
        return None
    if settings.backbone.weights.startswith(_BY_SHA256):
        raise InputError(
            f"the weight file with {settings.backbone.weights} is needed; name it with --weights"
        )
    if not Path(path).is_file():
        foreign = settings.backbone.foreign_file
        hint = "put the weights there" if foreign is None else f"`snakemake {path}` makes it"
        raise InputError(f"backbone.weights: no file at {path}; {hint}")
    return sha256_file(path)


def _weights_file(settings: TrainSettings | ViewsSettings) -> str | None:
    """The weight file that the backbone begins with, if it does."""
    return getattr(settings.backbone, "weights_file", None)


def stored_weights(model: Model, settings: TrainSettings) -> dict[str, Tensor]:
    """The part of the model's state that belongs into a checkpoint, on the CPU."""
    frozen = frozen_in_file(model, settings)
    return {k: v.detach().cpu() for k, v in model.state_dict().items() if k not in frozen}


def restore_model(
    path: str | Path, checkpoint: Checkpoint, weights: str | Path | None = None
) -> Model:
    """The model of a checkpoint, with frozen parameters from the weight file it names.

    Parameters
    ----------
    weights : path or None
        Where that file is, as safetensors; None: where the run's settings say. The checkpoint knows
        its SHA-256.

    Raises
    ------
    InputError
        If the weight file is another one now, or the stored weights do not fit the model.
    """
    settings = checkpoint.settings
    if weights is not None and settings.backbone.is_pretrained:
        settings = with_weights(settings, str(weights))
    if frozen_sha256(settings) != checkpoint.frozen_sha256:
        raise InputError(
            f"{_weights_file(settings)}: not the weight file that {path} was trained "
            f"with (expected SHA-256 {checkpoint.frozen_sha256})"
        )
    model = Model(settings)
    frozen = frozen_in_file(model, settings)
    own, stored = model.state_dict(), checkpoint.weights
    if own.keys() - frozen != stored.keys() or any(
        own[name].shape != value.shape or own[name].dtype != value.dtype
        for name, value in stored.items()
    ):
        raise InputError(f"{path}: the stored weights do not fit the model of its settings")
    shapes = [p.shape for p in model.parameters() if p.requires_grad]
    if settings.has_classifier:
        shapes.append(_shape_of_classifier(path, checkpoint, model))
    _check_optimizer(path, checkpoint, shapes)
    model.load_state_dict(stored, strict=False)
    return model


def _shape_of_classifier(path: str | Path, checkpoint: Checkpoint, model: Model) -> torch.Size:
    """Shape of the prototypes of a classifier, which must be there (InputError)."""
    prototypes, n = checkpoint.prototypes, checkpoint.settings.objective.n_prototypes
    if (
        prototypes is None
        or not prototypes.is_floating_point()
        or prototypes.shape[1] != model.backbone.feature_dim
        or n not in (None, len(prototypes))
    ):
        raise InputError(f"{path}: the stored prototypes do not fit the model of its settings")
    return prototypes.shape


def _check_optimizer(path: str | Path, checkpoint: Checkpoint, shapes: list[torch.Size]) -> None:
    """The momenta must be of parameters of these shapes; what else there is, nobody reads."""
    try:
        fits = _are_momenta(checkpoint.optimizer["state"], shapes)
    except (KeyError, IndexError):
        fits = False
    if not fits:
        raise InputError(f"{path}: the stored optimizer does not fit the model of its settings")


def _are_momenta(state: object, shapes: list[torch.Size]) -> bool:
    # Types come first: what stands in place of a number or a dictionary may be a tensor, which
    # compares and indexes in ways of its own.
    return type(state) is dict and all(
        type(number) is int
        and type(entry) is dict
        and (
            entry["momentum_buffer"] is None
            or (
                isinstance(entry["momentum_buffer"], Tensor)
                and entry["momentum_buffer"].shape == shapes[number]
            )
        )
        for number, entry in state.items()
    )

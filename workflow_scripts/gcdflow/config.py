"""The configuration: every key with its meaning, default and bounds, in one place.

The models below are the schema. ``config/config.yaml`` holds ``defaults:`` (every key, equal to the
defaults here; a test compares them) and ``runs:``, each of which inherits from the defaults and, by
``inherit: <run>``, from another run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from gcdflow.errors import InputError

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MAX_EPOCHS = 999  # {epoch} has three digits
MAX_SEED = 2**32 - 1  # NumPy's legacy generator, which draws the labelled images, takes no more


class Settings(BaseModel):
    """A strict, immutable section of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DatasetSettings(Settings):
    """Which images, and how many labels are shown."""

    name: str = Field("digits", description="dataset: digits, cub")
    root: str = Field("data", description="folder that holds the dataset's own folder")
    old_classes: list[int] | None = Field(
        None, description="ids of the old (known) classes; null: the field's published list"
    )
    prop_train_labels: float = Field(
        0.5, gt=0, le=1, description="share of the old classes' training images that is labelled"
    )
    seed: int = Field(
        0, ge=0, le=MAX_SEED, description="seed of the draw of labelled images (the field: 0)"
    )


class AffineAugmentation(Settings):
    """Random affine and elastic maps for small grey-level images, a whole batch at a time."""

    name: Literal["affine"] = Field("affine", description="this kind of augmentation")
    degrees: float = Field(15.0, ge=0, le=180, description="largest rotation, degrees")
    translate: float = Field(0.1, ge=0, le=1, description="largest shift, share of the side")
    scale: float = Field(0.15, ge=0, lt=1, description="largest change of size, share")
    shear: float = Field(0.15, ge=0, le=1, description="largest shear, tangent of the angle")
    elastic: float = Field(
        0.0, ge=0, le=1, description="largest elastic displacement, share of the side"
    )
    stroke: float = Field(
        0.0,
        ge=0,
        le=4,
        description="thinner or bolder strokes: pixels^x, 1/(1+stroke) ≤ x ≤ 1+stroke",
    )


class CropAugmentation(Settings):
    """The field's augmentation: resize, random crop (centre crop in evaluation), random flip."""

    name: Literal["crop"] = Field("crop", description="this kind of augmentation")
    resize: int = Field(256, ge=8, description="length of the shorter side after resizing, pixels")
    image_size: int = Field(224, ge=8, description="side of the crop, pixels")
    flip: bool = Field(True, description="mirror every other image")

    @model_validator(mode="after")
    def _crop_fits(self) -> CropAugmentation:
        if self.image_size > self.resize:
            raise ValueError(
                f"image_size ({self.image_size}) is larger than resize ({self.resize})"
            )
        return self


class SmallConvNetSettings(Settings):
    """A convolutional net sized for 8 × 8 digits."""

    name: Literal["small_convnet"] = Field("small_convnet", description="this kind of backbone")
    width: int = Field(32, ge=1, description="channels of the first stage; later ones have more")


class TorchvisionViTSettings(Settings):
    """A vision transformer of torchvision, by name."""

    name: Literal["torchvision_vit"] = Field("torchvision_vit", description="this kind of backbone")
    model: str = Field("vit_b_16", description="name in torchvision.models: vit_b_16, vit_l_16 …")
    weights: str | None = Field(
        None, description="local file of weights (state dict); null: random initialisation"
    )
    grad_from_block: int = Field(
        11, ge=0, description="first transformer block that is trained; all before it is frozen"
    )


class HeadSettings(Settings):
    """Projection head (DINO head)."""

    n_layers: int = Field(3, ge=1, description="linear layers up to the bottleneck")
    hidden_dim: int = Field(2048, ge=1, description="width of the hidden layers")
    bottleneck_dim: int = Field(256, ge=1, description="width of the bottleneck")
    out_dim: int = Field(65536, ge=2, description="width of the weight-normalised last layer")


class TrainingSettings(Settings):
    """Optimisation and the losses that need no pseudo labels."""

    batch_size: int = Field(128, ge=2, description="images per step (each gives two views)")
    lr: float = Field(0.1, gt=0, description="learning rate at the start of the cosine schedule")
    final_lr_factor: float = Field(1e-3, ge=0, le=1, description="last learning rate / first")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay of SGD")
    sup_con_weight: float = Field(
        0.35, ge=0, le=1, description="weight of L_supcon; L_contrast has the rest"
    )
    sup_con_temperature: float = Field(0.07, gt=0, description="temperature of L_supcon")
    contrast_temperature: float = Field(1.0, gt=0, description="temperature of L_contrast")
    contrast_samples: Literal["all", "unlabelled"] = Field(
        "all", description="samples of L_contrast: all, unlabelled"
    )


class PseudoSettings(Settings):
    """The pseudo-label loss."""

    loss: Literal["supcon", "prototypical"] = Field(
        "supcon", description="L_pseudo: supcon, prototypical"
    )
    pseudo_loss_weight: float = Field(1.0, ge=0, description="weight of L_pseudo where gamma is 1")
    temperature: float = Field(0.07, gt=0, description="temperature of L_pseudo")
    points: Literal["core", "all"] = Field(
        "core", description="points that count: core (dense, trustworthy), all"
    )
    samples: Literal["unlabelled", "all"] = Field(
        "unlabelled", description="samples that count: unlabelled, all"
    )
    weights: Literal["none", "density", "inverse_density"] = Field(
        "none", description="weights of the points: none, density, inverse_density"
    )
    gamma_ramp_epochs: int | None = Field(
        None, ge=0, description="epochs in which gamma rises from 0 to 1; null: up to total_epochs"
    )
    prototype_momentum: float = Field(
        0.9, ge=0, lt=1, description="moving average of the prototypes (loss: prototypical)"
    )


class ScheduleSettings(Settings):
    """Where training stops to be clustered."""

    warmup_epochs: int = Field(
        50, ge=1, le=MAX_EPOCHS, description="epochs before the first clustering"
    )
    refresh_interval: int = Field(
        5, ge=1, le=MAX_EPOCHS, description="epochs between clusterings (one segment)"
    )
    total_epochs: int = Field(
        200, ge=1, le=MAX_EPOCHS, description="epochs in all; the schedules end here"
    )

    @model_validator(mode="after")
    def _ordered(self) -> ScheduleSettings:
        if self.warmup_epochs > self.total_epochs:
            raise ValueError(
                f"warmup_epochs ({self.warmup_epochs}) is larger than "
                f"total_epochs ({self.total_epochs})"
            )
        return self

    def checkpoint_epochs(self) -> list[int]:
        """``warmup_epochs``, then every ``refresh_interval``, and ``total_epochs``."""
        epochs = list(range(self.warmup_epochs, self.total_epochs + 1, self.refresh_interval))
        return epochs if epochs[-1] == self.total_epochs else [*epochs, self.total_epochs]


def parse_range(text: object) -> list[int]:
    """Parse ``first:last[:step]`` (ends included) or a comma list: ``3:20``, ``40:95:5``, ``5,7``.

    Raises
    ------
    ValueError
        If the text is neither, or the range is empty.
    """
    try:
        if ":" in str(text):
            first, last, *step = (int(part) for part in str(text).split(":"))
            if len(step) > 1:
                raise ValueError
            if step and step[0] < 1:  # the end of a falling range would not be included
                raise ValueError
            values = list(range(first, last + 1, *step))
        else:
            values = [int(part) for part in str(text).split(",")]
    except ValueError:
        values = []
    if not values:
        raise ValueError(
            f"{text!r} is not a range 'first:last[:step]' (ends included) nor a comma list"
        )
    return values


def _range_within(lowest: int, highest: int | None) -> BeforeValidator:
    """Accept the text of a range of which all values lie within bounds."""

    def check(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(
                f"found {value!r}, expected a range in quotes, such as '3:20' (without them YAML "
                "reads a number)"
            )
        for number in parse_range(value):
            if number < lowest or (highest is not None and number > highest):
                bounds = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
                raise ValueError(f"{value!r} holds {number}, expected {bounds}")
        return value

    return BeforeValidator(check)


class ClusteringSettings(Settings):
    """The grid of the SSDDBC search."""

    k: Annotated[str, _range_within(1, None)] = Field(
        "3:20", description="numbers of neighbours: 'first:last[:step]', ends included, or 'a,b,…'"
    )
    percentile: Annotated[str, _range_within(0, 100)] = Field(
        "40:95:5", description="density percentiles: the same"
    )
    normalize: bool = Field(True, description="L2-normalise the features before clustering")
    w_ce: float = Field(1.0, ge=0, description="weight of the cross-entropy in the score")
    w_sil: float = Field(3.0, ge=0, description="weight of the silhouette in the score")


Augmentation = Annotated[AffineAugmentation | CropAugmentation, Field(discriminator="name")]
Backbone = Annotated[SmallConvNetSettings | TorchvisionViTSettings, Field(discriminator="name")]


class TrainSettings(Settings):
    """All that one training segment depends on, besides its input files.

    ``pseudo`` and ``warmup_epochs`` are null in the warm-up, which they cannot touch.
    """

    seed: int = Field(ge=0, le=MAX_SEED)
    augmentation: Augmentation
    backbone: Backbone
    head: HeadSettings
    training: TrainingSettings
    total_epochs: int = Field(ge=1, le=MAX_EPOCHS)
    warmup_epochs: int | None = None
    pseudo: PseudoSettings | None = None


class RunSettings(Settings):
    """One run: a dataset, a model, its training and its clustering."""

    seed: int = Field(
        0,
        ge=0,
        le=MAX_SEED,
        description="seed of weights, sample order and augmentations; not of the split",
    )
    dataset: DatasetSettings = DatasetSettings()
    augmentation: Augmentation = CropAugmentation()
    backbone: Backbone = TorchvisionViTSettings()
    head: HeadSettings = HeadSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    training: TrainingSettings = TrainingSettings()
    pseudo: PseudoSettings = PseudoSettings()
    clustering: ClusteringSettings = ClusteringSettings()

    @model_validator(mode="after")
    def _backbone_takes_the_views(self) -> RunSettings:
        needed = {"small_convnet": "affine", "torchvision_vit": "crop"}[self.backbone.name]
        if self.augmentation.name != needed:
            raise ValueError(
                f"backbone '{self.backbone.name}' takes the views of augmentation '{needed}', "
                f"found '{self.augmentation.name}'"
            )
        return self

    def train_settings(self, guided: bool) -> TrainSettings:
        """Settings of a segment, guided or not: only what can change its result."""
        return TrainSettings(
            seed=self.seed,
            augmentation=self.augmentation,
            backbone=self.backbone,
            head=self.head,
            training=self.training,
            total_epochs=self.schedule.total_epochs,
            warmup_epochs=self.schedule.warmup_epochs if guided else None,
            pseudo=self.pseudo if guided else None,
        )


def validated(model: type[Settings], values: object, where: str) -> Any:
    """Build a settings object.

    Raises
    ------
    InputError
        Naming ``where``, and of each offending key the value found and what was expected.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    return "; ".join(_phrase(problem) for problem in error.errors())


def _phrase(problem: ErrorDetails) -> str:
    """One problem that pydantic found, as a part of a sentence."""
    path, context = list(problem["loc"]), problem.get("ctx", {})
    if len(path) > 2 and path[0] in ("augmentation", "backbone"):
        del path[1]  # the name that chose between the sections; a person did not write it there
    key, value = ".".join(map(str, path)), problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'"
    if problem["type"] == "union_tag_not_found":
        return f"key '{key}.name' is missing"
    if problem["type"] == "union_tag_invalid":
        return f"key '{key}.name' is '{context['tag']}': expected {context['expected_tags']}"
    if problem["type"] == "value_error":
        return f"{key}: {context['error']}" if key else str(context["error"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    if problem["type"] == "float_type" and _is_number(value):
        message += " (YAML takes it for text: write the digits out, or 1.0e-3 for 1e-3)"
    return f"key '{key}' is {value!r}: {message}" if key else f"{value!r}: {message}"


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge; a mapping that chooses another ``name`` replaces the inherited one whole."""
    result = dict(base)
    for key, value in override.items():
        inherited = result.get(key)
        if isinstance(inherited, Mapping) and isinstance(value, Mapping):
            replaces = key != "dataset" and value.get("name", inherited.get("name")) != (
                inherited.get("name")
            )
            value = dict(value) if replaces else merged(inherited, value)
        result[key] = value
    return result


def resolve_runs(config: Mapping[str, Any], where: str = "configuration") -> dict[str, RunSettings]:
    """Resolve the inheritance of all runs and validate each.

    Parameters
    ----------
    config : mapping
        With ``runs`` and, optional, ``defaults`` and ``default_runs``, as ``config/config.yaml``
        holds them.

    Raises
    ------
    InputError
        For an unknown key, a bad value, or inheritance from nowhere or in a circle.
    """
    unknown = sorted(map(str, set(config) - {"defaults", "runs", "default_runs"}))
    if unknown:
        raise InputError(
            f"{where}: unknown key '{unknown[0]}' (expected: defaults, runs, default_runs)"
        )
    for section in ("defaults", "runs"):
        if not isinstance(config.get(section, {}), Mapping):
            raise InputError(f"{where}: '{section}' must be a mapping of names to settings")
    defaults, runs = config.get("defaults", {}), config.get("runs", {})
    for name in runs:
        if not isinstance(name, str):
            raise InputError(f"{where}: run name {name!r} is no text; put it in quotes")
        if not RUN_NAME.fullmatch(name):
            raise InputError(
                f"{where}: run name '{name}' is a folder name too: expected letters, digits, "
                "'.', '_' and '-', the first a letter or digit"
            )
    validated(RunSettings, defaults, f"{where}: defaults")
    return {
        name: validated(
            RunSettings, _inherited(name, defaults, runs, where), f"{where}: runs.{name}"
        )
        for name in runs
    }


def resolve_default_runs(
    config: Mapping[str, Any], runs: Mapping[str, RunSettings], where: str = "configuration"
) -> list[str]:
    """Names of the runs that are made when no target is given.

    Raises
    ------
    InputError
        If the key does not list names of runs.
    """
    names = config.get("default_runs", [])
    if not isinstance(names, list):
        raise InputError(f"{where}: 'default_runs' must be a list of names of runs")
    for name in names:
        if not isinstance(name, str) or name not in runs:
            raise InputError(
                f"{where}: default_runs: there is no run '{name}' (runs: {', '.join(runs)})"
            )
    return names


def _inherited(name: str, defaults: Mapping, runs: Mapping, where: str) -> dict[str, Any]:
    """The settings of a run with all that it inherits, not yet validated."""
    chain: list[Mapping] = []
    seen: list[str] = []
    parent: Any = name
    while parent is not None:
        if parent in seen:
            raise InputError(
                f"{where}: runs.{name}: inherits in a circle ({' → '.join([*seen, parent])})"
            )
        if not isinstance(parent, str) or parent not in runs:
            raise InputError(
                f"{where}: runs.{seen[-1]}.inherit: there is no run '{parent}' "
                f"(runs: {', '.join(runs)})"
            )
        settings = runs[parent] if runs[parent] is not None else {}
        if not isinstance(settings, Mapping):
            raise InputError(f"{where}: runs.{parent} must be a mapping of keys to values")
        seen.append(parent)
        chain.append({key: value for key, value in settings.items() if key != "inherit"})
        parent = settings.get("inherit")
    result: dict[str, Any] = dict(defaults)
    for settings in reversed(chain):
        result = merged(result, settings)
    return result


def load_runs(path: str | Path) -> dict[str, RunSettings]:
    """Read a configuration file.

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or its content is not valid.
    """
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(config, Mapping):
        raise InputError(f"{path}: expected a mapping with 'defaults' and 'runs'")
    return resolve_runs(config, str(path))


def find_run(runs: Mapping[str, RunSettings], name: str) -> RunSettings:
    """The settings of a run.

    Raises
    ------
    InputError
        If there is no such run; the message lists those that exist.
    """
    if name not in runs:
        raise InputError(f"there is no run '{name}' in the configuration (runs: {', '.join(runs)})")
    return runs[name]

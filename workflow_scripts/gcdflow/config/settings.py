"""The schema of the configuration: every key with its meaning, default and bounds, in one place.

``config/config.yaml`` holds ``defaults:`` (every key, equal to the defaults here; a test compares
them) and ``runs:``; :mod:`gcdflow.config.runs` reads it. A section with several kinds is a union
that its key ``name`` chooses from.
"""

from __future__ import annotations

import os
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_serializer, model_validator

from gcdflow.config.ranges import parse_range, range_within
from gcdflow.errors import InputError

MAX_EPOCHS = 999  # {epoch} has three digits
MAX_SEED = 2**32 - 1  # NumPy's legacy generator, which draws the labelled images, takes no more


UserPath = Annotated[str, AfterValidator(os.path.expanduser)]  # ~ is the user's home

BaselineMethod = Literal["kmeans", "semi_supervised_kmeans", "ward", "hdbscan", "hdbscan_bcubed"]
BASELINES: tuple[str, ...] = typing.get_args(BaselineMethod)
NUMBER_FINDERS = ("hdbscan", "hdbscan_bcubed")  # baselines; the others need a number of clusters


def _each_once(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"'{name}' is in the list {names.count(name)} times, expected once")
    return names


class Settings(BaseModel):
    """A strict, immutable section of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DatasetSettings(Settings):
    """Which images, and where they are."""

    name: str = Field(description="dataset")
    root: UserPath = Field("data", description="folder that holds the dataset's own folder")

    def images(self) -> dict[str, Any]:
        """What the images depend on, and their division into training and test, as plain values."""
        return self.model_dump()


class LabelDrawSettings(DatasetSettings):
    """A dataset with known classes, of which most labels are hidden."""

    old_classes: list[int | str] | None = Field(
        None, description="names or ids (from 0) of the old classes; null: the field's list"
    )
    prop_train_labels: float = Field(
        0.5, gt=0, le=1, description="share of the old classes' training images that is labelled"
    )
    seed: int = Field(
        0, ge=0, le=MAX_SEED, description="seed of the draw of labelled images (the field: 0)"
    )

    def images(self) -> dict[str, Any]:
        """What the images depend on; which labels are shown does not count."""
        return self.model_dump(exclude={"old_classes", "prop_train_labels", "seed"})


class BenchmarkSettings(LabelDrawSettings):
    """One of the field's datasets, as its archives unpack."""

    name: Literal["cub", "scars", "aircraft", "herbarium19", "imagenet100"] = Field(
        "cub", description="dataset: cub, scars, aircraft, herbarium19, imagenet100"
    )
    folder: UserPath | None = Field(
        None, description="the dataset's own folder in root; null: its usual name"
    )


class CIFARSettings(LabelDrawSettings):
    """CIFAR-10, CIFAR-100 or one superclass of it, in torchvision's format."""

    name: Literal["cifar10", "cifar100"] = Field(
        "cifar10", description="dataset: cifar10, cifar100"
    )
    download: bool = Field(
        True, description="fetch the archive if it is missing; changing this re-runs all"
    )
    superclass: str | None = Field(
        None, description="superclass of cifar100 to take; null: all classes"
    )
    grouping: Literal["15-way", "20-way"] = Field(
        "15-way", description="superclasses: 15-way (the method's), 20-way (the dataset's own)"
    )

    @model_validator(mode="after")
    def _superclass_of_100(self) -> CIFARSettings:
        if self.superclass is not None and self.name != "cifar100":
            raise ValueError(f"superclass is '{self.superclass}', but only cifar100 has some")
        return self


class ImageFolderSettings(LabelDrawSettings):
    """Any tree of images: one folder for each class, in one folder for each split."""

    name: Literal["image_folder"] = Field("image_folder", description="this kind of dataset")
    folder: UserPath = Field("images", description="the dataset's own folder in root")
    train: str = Field("train", description="folder of the training split in it")
    test: str | None = Field("val", description="folder of the test split in it; null: none")
    classes: list[str] | None = Field(
        None, description="names of the classes (folders) to take; null: all"
    )


class PhotosSettings(DatasetSettings):
    """A folder of photographs, and a CSV file that names the classes of some."""

    name: Literal["photos"] = Field("photos", description="this kind of dataset")
    folder: UserPath = Field("photos", description="folder of the photographs in root")
    labels: UserPath = Field(
        "labels.csv", description="CSV file with the columns path and label, in that folder"
    )
    real_classes: list[str] = Field(
        [], description="classes that are called NA, none, ? or the like (otherwise: no label)"
    )


class DigitsSettings(LabelDrawSettings):
    """Scikit-learn's handwritten digits, which come with the package."""

    name: Literal["digits"] = Field("digits", description="this kind of dataset")


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
    resize: int | None = Field(
        None, ge=8, description="shorter side after resizing, pixels; null: that of the weights"
    )
    image_size: int | None = Field(
        None, ge=8, description="side of the crop, pixels; null: that of the weights"
    )
    interpolation: Literal["bilinear", "bicubic"] | None = Field(
        None, description="for resizing: bilinear, bicubic; null: that of the weights"
    )
    flip: bool = Field(True, description="mirror half of the images, at random")

    @model_validator(mode="after")
    def _crop_fits(self) -> CropAugmentation:
        if self.image_size and self.resize and self.image_size > self.resize:
            raise ValueError(
                f"image_size ({self.image_size}) is larger than resize ({self.resize})"
            )
        return self


class SmallConvNetSettings(Settings):
    """A convolutional net sized for 8 × 8 digits."""

    name: Literal["small_convnet"] = Field("small_convnet", description="this kind of backbone")
    width: int = Field(32, ge=1, description="channels of the first stage; later ones have more")

    @property
    def is_pretrained(self) -> bool:
        """Whether it starts from weights, and not from random numbers."""
        return False


FETCHED_WEIGHTS = "weights/hub/"  # the folder of what the rule `weights` fetches


def brought_weights(model: str) -> str:
    """Where somebody may put the pretrained weights of a model; a file there is used unchanged."""
    return f"weights/{model}.safetensors"


def fetched_weights(model: str) -> str:
    """Where pretrained weights from the hub, or from a package, have their place."""
    return f"{FETCHED_WEIGHTS}{model}.safetensors"


def converted_weights(path: str) -> str:
    """Where the tensors of a weight file of PyTorch have their place, as safetensors."""
    return f"weights/converted/{Path(path).stem}.safetensors"


class TimmSettings(Settings):
    """Any image model of timm that is made of blocks or stages."""

    name: Literal["timm"] = Field("timm", description="this kind of backbone")
    model: str = Field(
        "dino_vitb16",
        description="efficientnet_lite0, dino_vitb16 … or a name in timm.list_models()",
    )
    weights: UserPath = Field(
        "pretrained",
        description="pretrained (installed, in weights/ or on the hub), random, or a file",
    )
    trained_blocks: int = Field(
        1, ge=0, description="blocks or stages that are trained, from the last; 0: none"
    )

    @property
    def is_pretrained(self) -> bool:
        """Whether it starts from weights, and not from random numbers."""
        return self.weights != "random"

    @property
    def named_file(self) -> str | None:
        """The weight file that the run names, if it does."""
        return self.weights if self.is_pretrained and self.weights != "pretrained" else None

    @property
    def foreign_file(self) -> str | None:
        """The weight file that the run names, if it must be converted to safetensors."""
        named = self.named_file
        return None if named is None or named.endswith(".safetensors") else named

    @property
    def weights_file(self) -> str | None:
        """Safetensors file of the weights: of pretrained ones those brought, else those fetched."""
        if not self.is_pretrained:
            return None
        if self.weights == "pretrained":
            brought = brought_weights(self.model)
            return brought if os.path.lexists(brought) else fetched_weights(self.model)
        return self.weights if self.foreign_file is None else converted_weights(self.weights)


class HeadSettings(Settings):
    """Projection head (DINO head)."""

    n_layers: int = Field(3, ge=1, description="linear layers up to the bottleneck")
    hidden_dim: int = Field(2048, ge=1, description="width of the hidden layers")
    bottleneck_dim: int = Field(256, ge=1, description="width of the bottleneck")
    out_dim: int | None = Field(
        65536, ge=2, description="width of the weight-normalised last layer; null: no such layer"
    )


class ContrastiveSettings(Settings):
    """Contrastive losses alone in the warm-up, then guided by pseudo labels (section `pseudo`)."""

    name: Literal["contrastive"] = Field("contrastive", description="this kind of objective")

    @property
    def guided_by(self) -> Literal["none", "first", "each"]:
        """Clusterings that guide the segments after the warm-up: each the next segment."""
        return "each"

    @property
    def begins_with_clusters(self) -> bool:
        """Whether a classifier joins at the end of the warm-up, from its clusters."""
        return False


class SimGCDSettings(Settings):
    """SimGCD: contrastive losses and a classifier, without L_pseudo (arXiv 2211.11727)."""

    name: Literal["simgcd"] = Field("simgcd", description="this kind of objective")
    n_prototypes: int | None = Field(
        None, ge=2, description="categories, old ones included; null: clusters of pseudo labels"
    )
    # False is left out of all that names a training, as where this key does not exist.
    restart_at_refresh: bool = Field(
        False,
        description="restart from the clusters of every refresh (with n_prototypes: null)",
        exclude_if=lambda restarts: not restarts,
    )
    temperature: float = Field(0.1, gt=0, description="temperature of the classifier")
    first_teacher_temperature: float = Field(
        0.07, gt=0, description="temperature of the soft labels in the classifier's first epoch"
    )
    teacher_temperature: float = Field(
        0.04, gt=0, description="temperature of the soft labels after teacher_ramp_epochs"
    )
    teacher_ramp_epochs: int = Field(
        30, ge=0, description="epochs in which that temperature falls (cosine)"
    )
    entropy_weight: float = Field(
        2.0, ge=0, description="weight of L_entropy, the mean-entropy regulariser"
    )

    @model_validator(mode="after")
    def _restarts_from_clusters(self) -> SimGCDSettings:
        if self.restart_at_refresh and self.n_prototypes is not None:
            raise ValueError(
                f"restart_at_refresh takes the number of clusters, but n_prototypes is "
                f"{self.n_prototypes}; expected null"
            )
        return self

    @property
    def guided_by(self) -> Literal["none", "first", "each"]:
        """Clusterings that guide after the warm-up: none, the first all, or each the next."""
        if not self.begins_with_clusters:
            return "none"
        return "each" if self.restart_at_refresh else "first"

    @property
    def begins_with_clusters(self) -> bool:
        """Whether a classifier joins at the end of the warm-up, from its clusters."""
        return self.n_prototypes is None


class TrainingSettings(Settings):
    """Optimisation and the losses that need no pseudo labels."""

    batch_size: int = Field(128, ge=2, description="images per step (each gives two views)")
    # Null is left out of all that names a training: what was trained before there was this key is
    # the same training still.
    min_steps: int | None = Field(
        None,
        ge=1,
        description="minimum steps of an epoch, by several passes over few images; null: one pass",
        exclude_if=lambda steps: steps is None,
    )
    lr: float = Field(0.1, gt=0, description="learning rate at the start of the cosine schedule")
    final_lr_factor: float = Field(1e-3, ge=0, le=1, description="last learning rate / first")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay of SGD")
    sup_con_weight: float = Field(
        0.35,
        ge=0,
        le=1,
        description="weight of L_supcon (and L_class); the other losses get the rest",
    )
    sup_con_temperature: float = Field(0.07, gt=0, description="temperature of L_supcon")
    contrast_temperature: float = Field(1.0, gt=0, description="temperature of L_contrast")
    contrast_samples: Literal["all", "unlabelled"] = Field(
        "all", description="samples of L_contrast: all, unlabelled"
    )
    views: int | None = Field(
        None,
        ge=2,
        description="stored views of each image, of which a step draws two; null: fresh views",
    )
    skip_bad_steps: int = Field(
        0, ge=0, description="steps that a segment may skip because their loss is not finite"
    )
    mixed_precision: bool = Field(
        False, description="compute in bfloat16 where that is safe: faster on GPUs, other results"
    )
    deterministic: bool = Field(
        False, description="equal bytes on a GPU too, where PyTorch can; slower (a CPU always does)"
    )

    @field_serializer("skip_bad_steps")
    def _no_limit(self, limit: int) -> int:
        """0: what settings are compared by leaves out a limit, which changes no result."""
        return 0

    def check_shared_by(self, n_gpus: int) -> None:
        """Refuse a number of GPUs that cannot have equal parts of each batch (InputError)."""
        if self.batch_size % n_gpus:
            raise InputError(
                f"training.batch_size is {self.batch_size}, of which {n_gpus} GPUs cannot have "
                f"equal parts; expected a multiple of gpus ({n_gpus})"
            )


class PseudoSettings(Settings):
    """The pseudo-label loss."""

    loss: Literal["supcon", "prototypical"] = Field(
        "supcon", description="L_pseudo: supcon, prototypical"
    )
    positives: Literal["cluster", "neighbours"] = Field(
        "neighbours",
        description="what supcon pulls together: neighbours (near core points), cluster (all)",
    )
    pseudo_loss_weight: float = Field(1.0, ge=0, description="weight of L_pseudo where gamma is 1")
    temperature: float = Field(0.3, gt=0, description="temperature of L_pseudo")
    points: Literal["core", "all"] = Field(
        "all", description="points that count: core (dense, trustworthy), all"
    )
    samples: Literal["unlabelled", "all"] = Field(
        "all", description="samples that count: unlabelled, all"
    )
    weights: Literal["none", "density", "inverse_density"] = Field(
        "none", description="weights of the points: none, density, inverse_density"
    )
    gamma_ramp_epochs: int | None = Field(
        10, ge=0, description="epochs in which gamma rises from 0 to 1; null: up to total_epochs"
    )
    prototype_momentum: float = Field(
        0.9, ge=0, lt=1, description="moving average of the prototypes (loss: prototypical)"
    )

    @property
    def pulls_neighbours(self) -> bool:
        """Neighbours are the positives, and batches bring them."""
        return self.loss == "supcon" and self.positives == "neighbours"


class ScheduleSettings(Settings):
    """When training pauses for a clustering."""

    warmup_epochs: int = Field(
        50, ge=0, le=MAX_EPOCHS, description="epochs before the first clustering that guides"
    )
    refresh_interval: int = Field(
        5, ge=1, le=MAX_EPOCHS, description="epochs between clusterings (one segment)"
    )
    total_epochs: int = Field(
        200,
        ge=0,
        le=MAX_EPOCHS,
        description="total epochs, at which the schedules end; 0: no training, only a first look",
    )

    @model_validator(mode="after")
    def _ordered(self) -> ScheduleSettings:
        if self.warmup_epochs > self.total_epochs:
            raise ValueError(
                f"warmup_epochs ({self.warmup_epochs}) is larger than "
                f"total_epochs ({self.total_epochs})"
            )
        return self

    def segment_ends(self) -> list[int]:
        """``warmup_epochs``, then every ``refresh_interval``, and ``total_epochs``."""
        epochs = list(range(self.warmup_epochs, self.total_epochs + 1, self.refresh_interval))
        return epochs if epochs[-1] == self.total_epochs else [*epochs, self.total_epochs]


class ClusteringSettings(Settings):
    """The grid of the SSDDBC search."""

    k: Annotated[str, range_within(1, None)] = Field(
        "3:20", description="numbers of neighbours: 'first:last[:step]', ends included, or 'a,b,…'"
    )
    percentile: Annotated[str, range_within(0, 100)] = Field(
        "40:95:5", description="density percentiles: the same"
    )
    normalize: bool = Field(True, description="L2-normalise the features before clustering")
    w_ce: float = Field(1.0, ge=0, description="weight of the cross-entropy in the score")
    w_sil: float = Field(3.0, ge=0, description="weight of the silhouette in the score")
    w_mod: float = Field(3.0, ge=0, description="weight of the modularity in the score")
    merge_by_class: bool = Field(True, description="merge clusters of one old class")
    label_draws: int = Field(
        0,
        ge=0,
        le=100,
        description="searches with other draws of labels; the report shows the range of clusters",
    )
    # Null is left out of all that names a result, as with training.min_steps.
    neighbours: Literal["exact", "approximate"] | None = Field(
        None,
        description="exact, approximate (faiss; for millions); null: exact, unless it takes hours",
        exclude_if=lambda neighbours: neighbours is None,
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="cpu or cuda; changes only the speed (exact neighbours only)",
        exclude_if=lambda device: device == "cpu",
    )

    def n_configurations(self) -> int:
        """Configurations of the grid."""
        return len(set(parse_range(self.k))) * len(set(parse_range(self.percentile)))

    def work(self) -> dict[str, Any]:
        """What a search has to do, as arguments of :func:`gcdflow.ssddbc.estimate_resources`."""
        return {
            "n_configurations": self.n_configurations(),
            "largest_k": max(parse_range(self.k)),
            "neighbours": self.neighbours,
        }


Dataset = Annotated[
    BenchmarkSettings | CIFARSettings | ImageFolderSettings | PhotosSettings | DigitsSettings,
    Field(discriminator="name"),
]
Augmentation = Annotated[CropAugmentation | AffineAugmentation, Field(discriminator="name")]
Backbone = Annotated[TimmSettings | SmallConvNetSettings, Field(discriminator="name")]
Objective = Annotated[ContrastiveSettings | SimGCDSettings, Field(discriminator="name")]

# The usual objective is left out of all that names a training, as training.min_steps is.
_OBJECTIVE = Field(
    ContrastiveSettings(), exclude_if=lambda objective: objective == ContrastiveSettings()
)


class ViewsSettings(Settings):
    """All that stored views depend on, besides the images and the weight file.

    ``seed`` is that of random weights, null for those of a file.
    """

    seed: int | None = Field(ge=0, le=MAX_SEED)
    augmentation: Augmentation
    backbone: Backbone
    views: int = Field(ge=2)


class TrainSettings(Settings):
    """All that one training segment depends on, besides its input files.

    ``pseudo`` and ``warmup_epochs`` are null in the warm-up, which they cannot touch. ``objective``
    is the usual one there, if a classifier joins only afterwards.
    """

    seed: int = Field(ge=0, le=MAX_SEED)
    augmentation: Augmentation
    backbone: Backbone
    head: HeadSettings
    training: TrainingSettings
    total_epochs: int = Field(ge=0, le=MAX_EPOCHS)
    warmup_epochs: int | None = None
    pseudo: PseudoSettings | None = None
    objective: Objective = _OBJECTIVE

    @property
    def takes_pseudo_labels(self) -> bool:
        """Whether the segment starts from pseudo labels, as guides or as first prototypes."""
        return self.pseudo is not None or self.objective.begins_with_clusters

    @property
    def has_classifier(self) -> bool:
        """Whether the segment trains prototypes of categories."""
        return isinstance(self.objective, SimGCDSettings)

    def views_settings(self) -> ViewsSettings | None:
        """What stored views depend on; None where views are fresh."""
        if self.training.views is None:
            return None
        return ViewsSettings(
            seed=None if self.backbone.is_pretrained else self.seed,
            augmentation=self.augmentation,
            backbone=self.backbone,
            views=self.training.views,
        )


BackboneUser = TypeVar("BackboneUser", TrainSettings, ViewsSettings)


def with_named_weights(settings: BackboneUser, weights: str) -> BackboneUser:
    """Settings with other words for the weight file that they name; unchanged if they name none.

    Where the file lies is no setting, so the words may be a path, a digest, or only "file".
    """
    named = getattr(settings.backbone, "named_file", None)
    return settings if named is None else with_weights(settings, weights)


def with_weights(settings: BackboneUser, weights: str) -> BackboneUser:
    """Settings of a backbone that has weights, with other words for where they are from."""
    backbone = settings.backbone.model_copy(update={"weights": weights})
    return settings.model_copy(update={"backbone": backbone})


class RunSettings(Settings):
    """One run: a dataset, a model, its training and its clustering."""

    seed: int = Field(
        0,
        ge=0,
        le=MAX_SEED,
        description="seed of weights, sample order and augmentations; not of the split",
    )
    gpus: int = Field(
        1,
        ge=1,
        description="GPUs that share each training step; changes only the speed, re-runs nothing",
    )
    baselines: Annotated[list[BaselineMethod], AfterValidator(_each_once)] = Field(
        [], description=f"other clusterings in the report: any of {', '.join(BASELINES)}"
    )
    dataset: Dataset = BenchmarkSettings()
    augmentation: Augmentation = CropAugmentation()
    backbone: Backbone = TimmSettings()
    head: HeadSettings = HeadSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    objective: Objective = _OBJECTIVE
    training: TrainingSettings = TrainingSettings()
    pseudo: PseudoSettings = PseudoSettings()
    clustering: ClusteringSettings = ClusteringSettings()

    @model_validator(mode="after")
    def _backbone_takes_the_views(self) -> RunSettings:
        needed = {"small_convnet": "affine", "timm": "crop"}[self.backbone.name]
        if self.augmentation.name != needed:
            raise ValueError(
                f"backbone '{self.backbone.name}' takes the views of augmentation '{needed}', "
                f"found '{self.augmentation.name}'"
            )
        return self

    @model_validator(mode="after")
    def _something_is_frozen(self) -> RunSettings:
        if self.training.views is not None and self.backbone.name == "small_convnet":
            raise ValueError(
                f"training.views is {self.training.views}, but nothing of backbone "
                "'small_convnet' is frozen, so there is nothing to store; set it to null"
            )
        return self

    @model_validator(mode="after")
    def _gpus_share_the_batch(self) -> RunSettings:
        self.training.check_shared_by(self.gpus)
        return self

    def checkpoint_epochs(self) -> list[int]:
        """Ends of segments, and epoch 0 of a pretrained network: what it sees before training."""
        ends = self.schedule.segment_ends()
        return [0, *ends] if self.backbone.is_pretrained and ends[0] > 0 else ends

    def guiding_epoch(self, previous: int | None) -> int | None:
        """Epoch whose pseudo labels a segment takes; None if it takes none.

        Parameters
        ----------
        previous : int or None
            Checkpoint epoch that the segment starts from, None for the first one.
        """
        guided_by = self.objective.guided_by
        if previous is None or guided_by == "none":
            return None
        return previous if guided_by == "each" else self.schedule.warmup_epochs

    def has_classifier(self, epoch: int) -> bool:
        """Whether the checkpoint of an epoch has a classifier that was trained."""
        if isinstance(self.objective, ContrastiveSettings):
            return False
        return epoch > (self.schedule.warmup_epochs if self.objective.begins_with_clusters else 0)

    def for_results(self) -> dict[str, Any]:
        """All that can change a category, as plain values: not GPUs, nor what is only compared."""
        others = {"gpus": True, "baselines": True, "clustering": {"label_draws", "device"}}
        values = self.model_dump(exclude=others)
        values["training"]["skip_bad_steps"] = self.training.skip_bad_steps
        return values

    def train_settings(self, guided: bool) -> TrainSettings:
        """Settings of a segment, guided or not: only what can change its result.

        A segment is guided if it takes pseudo labels (:meth:`guiding_epoch`).
        """
        objective, guided = self.objective, guided and self.guiding_epoch(0) is not None
        if objective.begins_with_clusters and not guided:
            objective = ContrastiveSettings()
        has_pseudo_loss = guided and isinstance(objective, ContrastiveSettings)
        return TrainSettings(
            seed=self.seed,
            augmentation=self.augmentation,
            backbone=self.backbone,
            head=self.head,
            training=self.training,
            total_epochs=self.schedule.total_epochs,
            warmup_epochs=self.schedule.warmup_epochs if guided else None,
            pseudo=self.pseudo if has_pseudo_loss else None,
            objective=objective,
        )


def kinds(section: str) -> dict[str, type[Settings]]:
    """The kinds of a section of a run by their ``name``; empty where there is only one kind."""
    annotation = RunSettings.model_fields[section].annotation
    if not isinstance(annotation, types.UnionType):
        return {}
    return {
        name: kind
        for kind in typing.get_args(annotation)
        for name in typing.get_args(kind.model_fields["name"].annotation)
    }

"""The JSON objects in the files of a run: their keys, and what may stand in them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Key

LARGEST_COUNT = 1e9


class Keys(BaseModel):
    """A JSON object; other keys may be there too."""

    model_config = ConfigDict(strict=True, extra="allow")


MISSING: Any = None  # default of a key that may be missing; null is no value of it

Epoch = Annotated[int, Key(ge=0, le=999)]
Count = Annotated[int, Key(ge=1, le=LARGEST_COUNT)]
Share = Annotated[float, Key(ge=0, le=1)]
Correlation = Annotated[float, Key(ge=-1, le=1)]
Name = Annotated[str, Key(min_length=1)]


class Source(Keys):
    """Where images come from."""

    dataset: str = Key(MISSING, description="name of the dataset")
    root: str = Key(MISSING, description="folder of the images")
    left_out: dict[Name, Name] = Key(MISSING, description="path and problem of unreadable images")


class SeenFolder(Source):
    """A folder of photographs, as a run saw it."""

    split_sha256: str = Key(MISSING, description="SHA-256 of the split that the samples are of")


class Provenance(Keys):
    """Where features come from."""

    checkpoint: str = Key(MISSING, description="path of the checkpoint")
    checkpoint_sha256: str = Key(MISSING, description="SHA-256 of the checkpoint")
    epoch: Epoch = Key(MISSING, description="epoch of the checkpoint")
    fingerprint: str = Key(MISSING, description="SHA-256 of settings and split")


class AddedProvenance(Provenance):
    """Where the features of added photographs come from, and which have none."""

    unreadable: dict[Name, Name] = Key(
        MISSING, description="SHA-256 and problem of unreadable photographs"
    )


class Clustering(Provenance):
    """A clustering, and where its features come from."""

    score: float = Key(MISSING, description="score of section 3.2")
    cross_entropy: float = Key(MISSING, description="CE of section 3.2")
    silhouette: float = Key(MISSING, description="Sil of section 3.2")
    n_clusters: Count = Key(MISSING, description="number of clusters in `labels`")
    n_samples: Count = Key(MISSING, description="number of samples")
    core_ratio: Share = Key(MISSING, description="share of core points")
    label_change_rate: Share | None = Key(
        MISSING, description="share of labels that the refresh changed; null for the first"
    )
    agreement: Correlation | None = Key(
        MISSING,
        description="adjusted Rand index with the clustering of the refresh before; null for the "
        "first",
    )
    against_labels: Share | None = Key(
        MISSING,
        description="share of the labelled samples in a cluster where another class prevails; null "
        "if nothing is labelled",
    )
    normalize: bool = Key(MISSING, description="features were L2-normalised")
    w_ce: float = Key(MISSING, description="weight of CE")
    w_sil: float = Key(MISSING, description="weight of Sil")
    version: str = Key(MISSING, description="version of the package")
    neighbours: str = Key(
        MISSING, description="`approximate`, if they are; missing for exact ones (section 3.5)"
    )
    recall: Share = Key(MISSING, description="share of exact neighbours found; missing likewise")


class Parameters(Keys):
    """What a grid search chose."""

    k: Count = Key(MISSING, description="number of neighbours")
    density_percentile: float = Key(MISSING, ge=0, le=100, description="density percentile")


class Accuracies(Keys):
    """Accuracies on some samples; ``all_v1``, ``old_v1`` and ``new_v1`` may be there too."""

    all: Share | None
    old: Share | None
    new: Share | None


class Metrics(Keys):
    """Metrics of an epoch."""

    epoch: Epoch = Key(description="the checkpoint's epoch")
    transductive: Accuracies = Key(
        description="the six accuracies on the unlabelled training samples, 0 to 1; null where "
        "there is no sample"
    )
    inductive: Accuracies = Key(
        description="the same on the test split, whose samples get a cluster by step 6 of section 3"
    )
    n_clusters: Count = Key(description="number of pseudo clusters")
    n_classes: Count | None = Key(
        description="number of true classes; null if the class of some sample is unknown"
    )
    core_ratio: Share = Key(description="share of core points")
    label_change_rate: Share | None = Key(description="as in section 4")
    agreement: Correlation | None = Key(MISSING, description="as in section 4")
    against_labels: Share | None = Key(MISSING, description="as in section 4")

"""The JSON objects in the files of a run: their keys, and what may stand in them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

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
Seconds = Annotated[float, Key(ge=0, le=LARGEST_COUNT)]


class Source(Keys):
    """Where images come from."""

    dataset: str = Key(MISSING, description="name of the dataset")
    root: str = Key(MISSING, description="folder of the images")
    left_out: dict[Name, Name] = Key(MISSING, description="path and problem of unreadable images")


class SplitSource(Source):
    """Where the images of a split come from."""

    real_classes: list[str] = Key(
        MISSING, description="names such as `NA` that are classes in the file of labels"
    )


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
    modularity: float = Key(MISSING, description="Mod of section 3.2")
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
    w_mod: float = Key(MISSING, description="weight of Mod")
    version: str = Key(MISSING, description="version of the package")
    neighbours: str = Key(
        MISSING, description="`approximate`, if they are; missing for exact ones (section 3.5)"
    )
    recall: Share = Key(MISSING, description="share of exact neighbours found; missing likewise")
    n_unmerged: Count = Key(
        MISSING,
        description="number of clusters before those of one old class became one (section 3.6); "
        "missing without `merge_by_class`",
    )


class Parameters(Keys):
    """What a grid search chose."""

    k: Count = Key(MISSING, description="number of neighbours")
    density_percentile: float = Key(MISSING, ge=0, le=100, description="density percentile")


class Accuracies(Keys):
    """Accuracies on some samples; ``all_v1``, ``old_v1`` and ``new_v1`` may be there too."""

    all: Share | None
    old: Share | None
    new: Share | None


class ByClassifier(Keys):
    """Accuracies of the categories that a classifier gives."""

    transductive: Accuracies
    ari: Correlation | None
    inductive: Accuracies
    n_categories: Count


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
    mean_cosine: Correlation = Key(
        MISSING,
        description="mean cosine similarity of the features of two images; near 1, they have "
        "collapsed",
    )
    classifier: ByClassifier = Key(
        MISSING,
        description="for runs with a classifier: `transductive`, `ari` and `inductive` of its "
        "categories, and `n_categories`, how many of them have a training sample",
    )
    ari: Correlation | None = Key(
        MISSING,
        description="adjusted Rand index of the unlabelled training samples; null where there are "
        "none",
    )
    label_draws: Count = Key(
        MISSING, description="number of draws of labels; missing if the run asks for none"
    )
    k_range: Annotated[list[Count], Key(min_length=2, max_length=2)] = Key(
        MISSING, description="least and most clusters that SSDDBC finds over these draws"
    )


class Estimate(Keys):
    """An estimate of the number of clusters."""

    n_clusters: Count
    seconds: Seconds


class Estimates(Provenance):
    """Estimates of the number of clusters, and where the features come from."""

    normalize: bool = Key(description="features were L2-normalised")
    estimated: Estimate = Key(
        description="GCD's estimate, from the labels: `n_clusters`, and the `seconds` it took"
    )
    silhouette: Estimate = Key(
        description="likewise CiPR's, from the labels of withheld classes, and silhouettes"
    )


class BaselineResult(Keys):
    """A clustering by another method, and how it came by its number of clusters."""

    number: Literal["told", "estimated", "silhouette", "found"]
    transductive: Accuracies
    ari: Correlation | None
    n_clusters: Count
    seconds: Seconds


class Baseline(Keys):
    """Clusterings of an epoch's features by another method."""

    method: Annotated[str, Key(pattern="^[a-z_]{1,40}$")] = Key(
        description="the method, as the run names it"
    )
    epoch: Epoch = Key(description="the checkpoint's epoch")
    n_classes: Count | None = Key(
        description="number of true classes; null if the class of some sample is unknown"
    )
    results: Annotated[list[BaselineResult], Key(min_length=1)] = Key(
        description="for each way to the `number` of clusters (`told`: the true one; `estimated` "
        "from the labels; by `silhouette`: from the labels of withheld classes, and silhouettes; "
        "`found` by the method itself): `transductive` and `ari` as in the metrics, `n_clusters`, "
        "and `seconds` with those of the estimate; of HDBSCAN also `min_cluster_size` and the "
        "share of `noise`"
    )

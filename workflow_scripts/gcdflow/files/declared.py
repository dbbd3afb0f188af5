"""Every file of a run, declared once: path, maker, readers, and what is in it.

These declarations determine how files are read, checked and written (:mod:`gcdflow.files.formats`
and the stages), the paths in the rules' plan, the tables of docs/contract.md, and how the fuzzer
breaks files. Like the plan, this module does not import NumPy.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace

from pydantic import BaseModel

from gcdflow.files.keys import (
    LARGEST_COUNT,
    AddedProvenance,
    Baseline,
    Clustering,
    Estimates,
    Metrics,
    Parameters,
    Provenance,
    SeenFolder,
    SplitSource,
)

TINY = sys.float_info.min  # the least of numbers that must be positive
LARGEST_FEATURE = 1e15  # sums of squares stay finite in float32
LARGEST_FLOAT = 3e38  # of float32

# Kinds of columns in tables, and what their cells look like.
CELLS = {
    "text": "(?s:.*)",
    "name": "(?s:.+)",
    "share": r"0(\.[0-9]{1,9})?|1(\.0{1,9})?",
    "count": "[0-9]{1,9}",
    "true or false": "true|false",
    "train or test": "train|test",
}


@dataclass(frozen=True)
class Field:
    """An array of an ``.npz`` file, a column of a table, or a value of a checkpoint.

    Attributes
    ----------
    name, about : what it is called, and what it holds
    kind : dtype of an array (JSON: a text that holds an object), or kind of a column
    axes : what an array is long in, ``n`` being the samples of the file
    least, most : range of its numbers
    below : name of the field whose length its numbers are below
    unique : nothing occurs twice, and no text is empty
    optional : files from elsewhere may lack it
    keys : model of a JSON object
    """

    name: str
    kind: str
    about: str
    axes: tuple[str, ...] = ("n",)
    least: float | None = None
    most: float = math.inf
    below: str | None = None
    unique: bool = False
    optional: bool = False
    keys: type[BaseModel] | None = None

    @property
    def range(self) -> str:
        """The range in words; empty if there is none."""
        if self.least is None:
            return ""
        if self.least == -self.most:
            return f"at most {self.most:.0e} in magnitude".replace("e+", "e")
        if self.least == TINY:
            return "positive numbers"
        if self.below:
            return f"{self.least:g} to the last of `{self.below}`"
        largest = self.most >= LARGEST_COUNT
        return f"{self.least:g} or more" if largest else f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class RunFile:
    """A file in the folder of a run.

    Attributes
    ----------
    path : in the folder of the run; ``{epoch}`` stands for three digits, ``{method}`` for a name
    made_by, read_by : rules and people
    about : what it is
    fields : of an archive of arrays, a checkpoint, or the columns of a table
    keys : model of a JSON file
    """

    path: str
    made_by: str
    read_by: str
    about: str
    fields: tuple[Field, ...] = ()
    keys: type[BaseModel] | None = None

    def of(self, run: str, epoch: int | None = None, method: str | None = None) -> str:
        """Path of the file of a run, and of an epoch and a method if it has one for each."""
        digits = epoch if epoch is None else f"{epoch:03d}"
        return f"runs/{run}/" + self.path.format(epoch=digits, method=method)

    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a table."""
        return tuple(field.name for field in self.fields)


# -- files -----------------------------------------------------------------------------------------

_IDS = Field("indices", "int64", "sample ids", unique=True)
_FEATURES = Field(
    "features",
    "float32",
    "output of the backbone, not normalised",
    ("n", "d"),
    least=-LARGEST_FEATURE,
    most=LARGEST_FEATURE,
)
_CLASS_NAMES = Field("class_names", "text", "name of each class", ("classes",), unique=True)
_IN_TRAINING = "the sample is in the training split, else in the test split"
_OLD_CLASS = "old class of a labelled sample, -1 elsewhere"

CONFIG = RunFile("config.yaml", "`settings`", "nothing", "a record of the run's resolved settings")
SPLIT = RunFile(
    "split.npz",
    "`dataset`",
    "`views`, `train`, `share`, `features`, `photographs`, `added`, `labels`, `thumbs`, `assign`, "
    "`gallery`, `sorted`, `sidecars`",
    "what every stage may know of the samples",
    (
        _IDS,
        Field("train_mask", "bool", _IN_TRAINING),
        Field("labelled_mask", "bool", "the label is given; only training samples have one"),
        Field("labels", "int64", _OLD_CLASS, least=-1, below="old_class_names"),
        Field("source", "JSON", "where the images come from", (), keys=SplitSource),
        Field("paths", "text", "image of each sample, relative to the root", ("n or 0",)),
        Field("old_class_names", "text", "name of each label", ("old classes",), unique=True),
    ),
)
TRUTH = RunFile(
    "truth.npz",
    "`dataset`",
    "`evaluate` and `baseline` only",
    "the hidden truth",
    (
        _IDS,
        Field("labels", "int64", "true class, -1 if unknown", least=-1, below="class_names"),
        Field("old_mask", "bool", "the true class is an old one"),
        _CLASS_NAMES,
    ),
)
CHECKPOINT = RunFile(
    "ckpt_epoch{epoch}.pt",
    "`train`; `share`, from another run",
    "`features`, the next `train`, `share`, `classes`, `added`",
    "a `torch.save` file of tensors and plain values, which `weights_only=True` reads",
    (
        Field("format", "int", "1"),
        Field("fingerprint", "SHA-256", "the settings and the split"),
        Field("epoch", "int", "number of finished epochs", least=0),
        Field("settings", "JSON", "all settings that training depends on"),
        Field("split_sha256", "SHA-256", "the `split.npz` that was trained on"),
        Field("weights", "names", "tensors of backbone and head but the frozen ones of a file"),
        Field("optimizer", "names", "state of the optimizer, of which only the momenta are read"),
        Field("frozen_sha256", "SHA-256 or none", "the file that holds the frozen weights"),
        Field(
            "prototypes",
            "table or none",
            "one row for each cluster (prototypical loss) or category (classifier)",
        ),
        Field("pseudo_sha256", "SHA-256 or none", "pseudo labels that guided the last epochs"),
        Field("rolling", "names", "the position within the segment, in a rolling checkpoint"),
        Field(
            "history",
            "JSON",
            "what TensorBoard shows, by epoch and tag, since the run began; without speeds",
            optional=True,
        ),
    ),
)
FEATURES = RunFile(
    "features_epoch{epoch}.npz",
    "`features`",
    "`cluster`, `classes`, `evaluate`, `estimate`, `baseline`, `added`, `assign`, `gallery`",
    "the feature cache, of training and test samples",
    (
        Field("indices", "int64", "sample ids", unique=True, optional=True),
        _FEATURES,
        Field("labels", "int64", _OLD_CLASS, least=-1, optional=True),
        Field("train_mask", "bool", _IN_TRAINING, optional=True),
        Field("metadata", "JSON", "where they come from", (), optional=True, keys=Provenance),
    ),
)
PSEUDO = RunFile(
    "pseudo_epoch{epoch}.npz",
    "`cluster`",
    "the next `train`, the next `cluster`, `evaluate`, `assign`",
    "pseudo labels of the training split",
    (
        _IDS,
        Field("labels", "int64", "cluster ids, consecutive from 0", least=0),
        Field("core_mask", "bool", "core points; at least one"),
        Field("densities", "float32", "ρ of section 3", least=TINY, most=LARGEST_FLOAT),
        Field(
            "neighbours",
            "int64",
            "rows of those of the 10 nearest core points that are in the same cluster and have no "
            "other label, nearest first, then -1",
            ("n", "10"),
            least=-1,
            below="indices",
            optional=True,
        ),
        Field("best_params", "JSON", "what the grid search chose", (), keys=Parameters),
        Field("metadata", "JSON", "how good it is, and where it comes from", (), keys=Clustering),
    ),
)
CLASSES = RunFile(
    "classes_epoch{epoch}.npz",
    "`classes`, for runs with a classifier",
    "`evaluate`",
    "the category that the classifier gives each training and test sample",
    (
        _IDS,
        Field("labels", "int64", "the most similar prototype; old classes come first", least=0),
        Field("metadata", "JSON", "where it comes from", (), keys=Provenance),
    ),
)
GRID = RunFile(
    "grid_epoch{epoch}.tsv",
    "`cluster`",
    "`heatmap`; `report` and `summary`, for the seconds",
    "one row for each configuration of the grid",
    (
        Field("k", "whole number", "number of neighbours", least=1, most=LARGEST_COUNT),
        Field("density_percentile", "number", "density percentile", least=0, most=100),
        Field("score", "number", "score of section 3.2"),
        Field("cross_entropy", "number", "CE"),
        Field("silhouette", "number", "Sil"),
        Field(
            "silhouette_error",
            "number",
            "standard error of Sil if it is estimated (section 3.5), else 0",
            least=0,
            optional=True,
        ),
        Field("modularity", "number", "Mod", most=1, optional=True),
        Field(
            "n_clusters",
            "whole number",
            "number of clusters, before those of one old class are merged (section 3.6)",
            least=1,
            most=LARGEST_COUNT,
        ),
        Field("n_core", "whole number", "number of core points"),
        Field("core_ratio", "number", "share of core points", least=0, most=1),
        Field("cutoff", "number", "mean distance to the k nearest neighbours"),
        Field("seconds", "number", "time that the configuration took", least=0),
    ),
)
GRID_PICTURE = RunFile("grid_epoch{epoch}.png", "`heatmap`", "people", "a picture of the grid")
METRICS = RunFile(
    "metrics_epoch{epoch}.json",
    "`evaluate`",
    "`report`, `summary`",
    "accuracy of an epoch against the truth",
    keys=Metrics,
)
ESTIMATES = RunFile(
    "estimates_epoch{epoch}.json",
    "`estimate`, for `baselines` that need them",
    "`baseline`, of such methods",
    "estimates of the number of clusters, without the truth",
    keys=Estimates,
)
BASELINE = RunFile(
    "baseline_{method}_epoch{epoch}.json",
    "`baseline`, for runs with `baselines`",
    "`report`, `summary`",
    "another clustering of the same features against the truth",
    keys=Baseline,
)
REPORT = RunFile("report.md", "`report`", "people", "a table of all epochs")
REPORT_PAGE = RunFile("report.html", "`report_page`", "people", "the same as a page")
CURVES = RunFile("curves.png", "`curves`", "people", "losses, accuracy, clusters over epochs")
ASSIGNMENTS = RunFile(
    "assignments.csv",
    "`assign`",
    "`gallery`, `sorted`, `sidecars`, people",
    "one row for each image: the samples in the order of the split (of photographs, those that are "
    "there), then added photographs, then what is in no category; UTF-8 with a byte-order mark",
    (
        Field("path", "name", "image file, or id of a sample in memory"),
        Field("category", "name", "class name, or `new-3`"),
        Field("confidence", "share", "1 where a person said it, near 0 between two categories"),
        Field("doubtful", "true or false", "far less sure than is usual in the category"),
        Field("core_point", "true or false", "core point of the clustering"),
        Field("label", "text", "category that a person gave"),
        Field("suggested", "text", "category of the sample's cluster, if it is not the label"),
        Field("split", "train or test", "split of the sample; train for added photographs"),
        Field("cluster", "count", "id of the cluster"),
        Field("problem", "text", "why the image is in no category"),
    ),
)
PHOTOGRAPHS = RunFile(
    "photographs.npz",
    "`photographs`, for photographs",
    "`added`, `thumbs`, `assign`, `gallery`; `dataset` and `labels`, if it is there",
    "where the photographs are now, and where they were",
    (
        Field("paths", "text", "every path that a photograph ever had", unique=True),
        Field("present", "bool", "a photograph is there now"),
        Field("indices", "int64", "its sample id, or of an added one its content id"),
        Field("sha256", "text", "SHA-256 of its content"),
        Field("sizes", "int64", "its size in bytes", least=0),
        Field("times", "int64", "when it was changed, ns"),
        Field(
            "sample_sha256",
            "text",
            "SHA-256 of each sample's content, in the order of the split; empty if it was gone",
            ("samples",),
        ),
        Field("source", "JSON", "the folder", (), keys=SeenFolder),
    ),
)
ADDED = RunFile(
    "features_added.npz",
    "`added`, for photographs",
    "`assign`",
    "features of the photographs that were added since training, as in `features_epoch{epoch}.npz`",
    (
        Field("indices", "int64", "content ids", ("n or 0",), unique=True),
        replace(_FEATURES, axes=("n or 0", "d")),
        Field("metadata", "JSON", "where they come from", (), keys=AddedProvenance),
    ),
)
THUMBS = RunFile(
    "thumbs.tsv",
    "`thumbs`, for photographs",
    "`gallery`, people",
    "one line for each file in `thumbs/`, and the photograph that it shows",
)
GALLERY = RunFile("gallery.html", "`gallery`", "people", "the categories as a page of thumbnails")
SORTED = RunFile(
    "sorted", "`sorted`, only if asked for", "people", "a folder for each category, with links"
)
SORTED_COPIES = RunFile(
    "sorted_copies", "`sorted_copies`, only if asked for", "people", "the same, with copies"
)
SIDECARS = RunFile(
    "sidecars",
    "`sidecars`, only if asked for",
    "photo programs",
    "an XMP file for each image that is not doubtful, with its category as a keyword",
)
LABELS = RunFile(
    "labels.npz",
    "`labels`, for photographs",
    "`cluster_final`, `assign`",
    "labels that replace those of `split.npz` in clustering and assignment",
    (
        Field(
            "indices",
            "int64",
            "sample ids, and content ids of added photographs with a label",
            unique=True,
        ),
        Field("labels", "int64", "class or -1, as in the split", least=-1, below="class_names"),
        _CLASS_NAMES,
    ),
)
PSEUDO_FINAL = RunFile(
    "pseudo_final.npz",
    "`cluster_final`, for photographs",
    "`assign`",
    "as `pseudo_epoch{epoch}.npz`, with the labels as they are now",
)
GRID_FINAL = RunFile(
    "grid_final.tsv", "`cluster_final`, for photographs", "people", "its `grid_epoch{epoch}.tsv`"
)
ADDED_FIRST_LOOK = RunFile(
    "features_added_first_look.npz",
    "`added_first_look`, for photographs",
    "`assign_first_look`",
    "as `features_added.npz`, of the pretrained network before training",
)
PSEUDO_FIRST_LOOK = RunFile(
    "pseudo_first_look.npz",
    "`cluster_first_look`, for photographs",
    "`assign_first_look`",
    "as `pseudo_final.npz`, of the pretrained network before training",
)
GRID_FIRST_LOOK = RunFile(
    "grid_first_look.tsv",
    "`cluster_first_look`, for photographs",
    "people",
    "its `grid_epoch{epoch}.tsv`",
)
FIRST_LOOK_TABLE = RunFile(
    "first_look.csv",
    "`assign_first_look`",
    "`first_look`, people",
    "as `assignments.csv`, before training",
)
FIRST_LOOK = RunFile(
    "first_look.html", "`first_look`", "people", "as `gallery.html`, before training"
)
LOG = RunFile("log/", "`train`, `share`, `cluster`, `evaluate`", "`curves`, TensorBoard", "curves")

FILES = [value for value in vars().copy().values() if isinstance(value, RunFile)]

"""Generalized category discovery by pseudo-label guided contrastive learning.

Files of a run ({run}: a key of `runs:` in the configuration, {epoch}: three digits, one of the run's
checkpoint epochs):

    runs/{run}/config.yaml                     settings    all settings of the run
    runs/{run}/split.npz, truth.npz            dataset     the split for all stages; the hidden truth
    runs/{run}/ckpt_epoch{epoch}.pt            train       one segment of training; share: the warm-up
                                               of another run with the same settings up to there
    runs/{run}/features_epoch{epoch}.npz       features    backbone features of every image
    runs/{run}/classes_epoch{epoch}.npz        classes     categories by the classifier, if there is one
    runs/{run}/pseudo_epoch{epoch}.npz         cluster     pseudo labels; grid_epoch{epoch}.tsv
    runs/{run}/grid_epoch{epoch}.png           heatmap     a picture of the grid
    runs/{run}/metrics_epoch{epoch}.json       evaluate    accuracy against the truth
    runs/{run}/estimates_epoch{epoch}.json     estimate    numbers of clusters, for some baselines
    runs/{run}/baseline_{method}_epoch{epoch}.json  baseline  another clustering, to compare with
    runs/{run}/report.md                       report      a table of all epochs
    runs/{run}/report.html                     report_page the table as a page
    runs/{run}/curves.png                      curves      losses, accuracy, clusters over epochs
    runs/{run}/photographs.npz                 photographs  where photographs are now
    runs/{run}/features_added.npz              added       features of photographs added since training
    runs/{run}/labels.npz                      labels      labels of photographs as they are now
    runs/{run}/pseudo_final.npz                cluster_final  a clustering with these; grid_final.tsv
    runs/{run}/assignments.csv                 assign      category and confidence of every image
    runs/{run}/thumbs.tsv                      thumbs      thumbnails of photographs, in thumbs/
    runs/{run}/gallery.html                    gallery     the categories as a page of thumbnails
    runs/{run}/sorted/, sorted_copies/         sorted      a folder for each category, only if asked for
    runs/{run}/sidecars/                       sidecars    XMP files with keywords, only if asked for
    runs/{run}/first_look.html, first_look.csv first_look  the same before training, if pretrained
    results/summary.tsv, summary.md            summary     tables of all default runs
    results/summary.html                       summary_page  the tables as a page
    views/{digest}.npy                         views       frozen part of the backbone for N views, shared
                                               by runs (`training.views`)
    weights/hub/{model}.safetensors            weights     pretrained weights for all runs, if the user
                                               provides no weights/{model}.safetensors
    weights/converted/{name}.safetensors       weights     made from a weight file that a run names
    runs/{run}/.made/                          records of inputs and outputs, all stages
    runs/{run}/log/                            TensorBoard, all stages
"""

import os
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.0")

# The folder of this file, even if it is linked or another workflow imports it.
if not isinstance(workflow.included_stack[-1], os.PathLike):
    raise WorkflowError(
        "gcdflow runs the stages of a checkout; clone its repository, and give the path of the "
        "Snakefile in it as `snakefile:`"
    )
CHECKOUT = Path(workflow.included_stack[-1]).resolve().parent

# The configuration in the working directory, or else the shipped one.
CONFIG = "config/config.yaml"


configfile: CONFIG if Path(CONFIG).exists() or workflow.overwrite_configfiles else CHECKOUT / CONFIG


include: CHECKOUT / "rules/common.smk"


# The first page of `snakemake --report`.
report: str(CHECKOUT / "report/workflow.rst")


# The first rule is the default target. A workflow that imports this one has its own.
rule all:
    """Make tables, curves, heatmaps and galleries of the default runs."""
    input:
        plan.all_results(RUNS, DEFAULT_RUNS),


include: CHECKOUT / "rules/settings.smk"
include: CHECKOUT / "rules/dataset.smk"
include: CHECKOUT / "rules/weights.smk"
include: CHECKOUT / "rules/views.smk"
include: CHECKOUT / "rules/train.smk"
include: CHECKOUT / "rules/share.smk"
include: CHECKOUT / "rules/features.smk"
include: CHECKOUT / "rules/classes.smk"
include: CHECKOUT / "rules/cluster.smk"
include: CHECKOUT / "rules/photos.smk"
include: CHECKOUT / "rules/heatmap.smk"
include: CHECKOUT / "rules/evaluate.smk"
include: CHECKOUT / "rules/baseline.smk"
include: CHECKOUT / "rules/report.smk"
include: CHECKOUT / "rules/curves.smk"
include: CHECKOUT / "rules/pages.smk"
include: CHECKOUT / "rules/assign.smk"
include: CHECKOUT / "rules/gallery.smk"
include: CHECKOUT / "rules/sorted.smk"
include: CHECKOUT / "rules/sidecars.smk"
include: CHECKOUT / "rules/first_look.smk"
include: CHECKOUT / "rules/summary.smk"

"""Generalized category discovery by pseudo-label guided contrastive learning.

Files of a run ({run}: a key of `runs:` in the configuration, {epoch}: three digits, one of the run's
checkpoint epochs):

    runs/{run}/split.npz, truth.npz            dataset     what all stages may know; the hidden truth
    runs/{run}/ckpt_epoch{epoch}.pt            train       one segment of training
    runs/{run}/features_epoch{epoch}.npz       features    backbone features of every image
    runs/{run}/pseudo_epoch{epoch}.npz         cluster     pseudo labels; grid_epoch{epoch}.tsv
    runs/{run}/grid_epoch{epoch}.png           heatmap     a picture of the grid
    runs/{run}/metrics_epoch{epoch}.json       evaluate    accuracy against the truth
    runs/{run}/report.md                       report      a table of all epochs
    runs/{run}/assignments.csv                 assign      category of every image, and how sure it is
    runs/{run}/gallery.html                    gallery     the categories as a page of thumbnails
    results/summary.tsv, summary.md            summary     tables of all default runs
    weights/{model}.safetensors                weights     pretrained weights, used by all runs
    runs/{run}/log/                            TensorBoard, all stages
"""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/dataset.smk"
include: "rules/weights.smk"
include: "rules/train.smk"
include: "rules/features.smk"
include: "rules/cluster.smk"
include: "rules/photos.smk"
include: "rules/heatmap.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"
include: "rules/assign.smk"
include: "rules/gallery.smk"
include: "rules/summary.smk"


rule all:
    default_target: True
    input:
        expand("runs/{run}/{file}", run=DEFAULT_RUNS, file=["report.md", "gallery.html"]),

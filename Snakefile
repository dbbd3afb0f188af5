"""Generalized category discovery by pseudo-label guided contrastive learning.

Files of a run: docs/contract.md, section 2.
"""

import os
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.11")

# The folder of this file, even if it is linked or another workflow imports it.
if not isinstance(workflow.included_stack[-1], os.PathLike):
    raise WorkflowError(
        "gcdflow runs the stages of a checkout; clone its repository, and give the path of the "
        "Snakefile in it as `snakefile:`"
    )
CHECKOUT = Path(workflow.included_stack[-1]).resolve().parent

# The configuration in the working directory, or else the shipped one.
CONFIG = "config/config.yaml"
if not Path(CONFIG).exists() and not workflow.overwrite_configfiles:
    CONFIG = CHECKOUT / CONFIG
try:
    yaml.safe_load(Path(CONFIG).read_text(encoding="utf-8"))
except (OSError, ValueError):  # Snakemake says what is wrong
    pass
except yaml.YAMLError as error:  # Snakemake would not say where
    raise WorkflowError(f"{CONFIG}: {error}")


configfile: CONFIG


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

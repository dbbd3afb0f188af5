"""Between Snakemake and gcdflow.planning: from the wildcards of a job to what is known of its run."""

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# The stages lie beside the rules, also where another workflow imports these as a module. The rules'
# commands find them by a variable of the environment: neither a param nor the text of a rule, so
# that moving the checkout re-runs nothing, and no prefix of all commands, which would be one for the
# rules of the importing workflow too.
SCRIPTS_DIR = CHECKOUT / "workflow_scripts"
sys.path.insert(0, str(SCRIPTS_DIR))
os.environ.update(GCDFLOW_SCRIPTS=str(SCRIPTS_DIR), GCDFLOW_PYTHON=str(Path(sys.executable).parent))

from gcdflow.surroundings import foreign_interpreter

try:
    from gcdflow.config.runs import RUN_NAME, find_run
    from gcdflow.config.settings import fetched_weights
    from gcdflow.errors import InputError
    from gcdflow.planning import plan
    from gcdflow.planning.plan import RESULT_VERSIONS
    from gcdflow.planning.state import state_of_files
except ImportError as error:
    raise WorkflowError(foreign_interpreter(error) or str(error))

# An importing workflow may put all files of a module below a folder of its own (`prefix:`). Snakemake
# does so with inputs, outputs and logs; paths that come about otherwise go through this.
placed = workflow.modifier.path_modifier.replace_prefix

<<<<<<< HEAD
=======
# A change of code re-runs nothing by itself. Whoever changes what a stage computes from the same
# input raises its number here; that stage, and all that follows from it, then runs again.
RESULT_VERSIONS = {
    "dataset": 2,
    "train": 1,
    "features": 1,
    "cluster": 1,
    "evaluate": 1,
    "labels": 2,
    "assign": 3,
    "gallery": 1,
    "summary": 1,
    "curves": 1,
    "pages": 1,
}

>>>>>>> g-meta
try:
    plan.check_checkout(CHECKOUT)
    RUNS, DEFAULT_RUNS = plan.configured_runs(config, workflow.configfiles)
except InputError as error:
    raise WorkflowError(str(error))

if workflow.is_main_process:
    for sentence in plan.mend_runs({run: placed(f"runs/{run}") for run in RUNS}):
        logger.info(sentence)

SUMMARY_METRICS = plan.summary_metrics(RUNS, DEFAULT_RUNS, placed)


wildcard_constraints:
    run=RUN_NAME.pattern,
    epoch=r"\d{3}",


# Functions of the plan as Snakemake calls them, by what they ask for; `job` is what resources add.
def settings_of(wildcards):
    return find_run(RUNS, wildcards.run)


def of_settings(function):
    return lambda wildcards, *job: function(settings_of(wildcards), *job)


def of_run(function):
    return lambda wildcards, *job: function(settings_of(wildcards), wildcards.run, *job)


def of_epoch(function):
    return lambda wildcards, *job: of_run(function)(wildcards, int(wildcards.epoch), *job)


# Weights lie where the stages look for them: below no prefix, in no storage.
def weights_of(wildcards):
    return [local(path) for path in of_run(plan.weights_files)(wildcards)]


# Params that ask for a job's files are none that Snakemake compares: they re-run nothing.
def flags_of(**flags):
    return lambda wildcards, input: plan.input_flags(input, flags)


def log_dir(wildcards, output):
    return plan.log_dir(output[0])


# What a job asks a cluster for. Where an input does not exist yet, Snakemake asks again later.
def memory(request):
    return lambda wildcards, input, threads, attempt: (
        request(wildcards, input, threads, attempt).mem_mb
    )


<<<<<<< HEAD
def walltime(request):
    return lambda wildcards, input, threads, attempt: (
        request(wildcards, input, threads, attempt).runtime
    )
=======
def train_settings(wildcards):
    guided = previous_epoch(wildcards) is not None
    return as_json(run_settings(wildcards).train_settings(guided))


def train_gpus(wildcards):
    return run_settings(wildcards).gpus


def train_threads(wildcards):
    return 8 * train_gpus(wildcards)


def resume_flags(wildcards, input):
    if "checkpoint" not in input.keys():
        return []
    return ["--resume-from-ckpt", input.checkpoint, "--pseudo-labels", input.pseudo_labels]


def features_inputs(wildcards):
    inputs = model_inputs(wildcards)
    inputs["checkpoint"] = run_file(wildcards, "ckpt_epoch{}.pt", checked_epoch(wildcards))
    return inputs


def cluster_inputs(wildcards):
    epoch, previous = checked_epoch(wildcards), previous_epoch(wildcards)
    inputs = {"features": run_file(wildcards, "features_epoch{}.npz", epoch)}
    if previous is not None:
        inputs["previous"] = run_file(wildcards, "pseudo_epoch{}.npz", previous)
    return inputs


def cluster_flags(wildcards):
    settings = run_settings(wildcards).clustering
    flags = ["--k", settings.k, "--percentile", settings.percentile]
    flags += ["--w-ce", str(settings.w_ce), "--w-sil", str(settings.w_sil)]
    return flags if settings.normalize else [*flags, "--no-normalize"]


def previous_flags(wildcards, input):
    return ["--previous", input.previous] if "previous" in input.keys() else []


def labels_inputs(wildcards):
    dataset = run_settings(wildcards).dataset
    if dataset.name != "photos":
        raise WorkflowError(
            f"run '{wildcards.run}' is of dataset '{dataset.name}', which has no CSV file of "
            "labels (dataset 'photos' has one)"
        )
    return {"split": f"runs/{wildcards.run}/split.npz"}


def labels_table(wildcards):
    dataset = run_settings(wildcards).dataset
    return str(Path(dataset.root, dataset.folder, dataset.labels))


def photographs_state(wildcards):
    """Changes with the CSV file and with the names in the folder, which are no inputs of any rule."""
    dataset = run_settings(wildcards).dataset
    return state_of_photographs(Path(dataset.root, dataset.folder), Path(labels_table(wildcards)))


def last_features(wildcards):
    epoch = run_settings(wildcards).schedule.checkpoint_epochs()[-1]
    return run_file(wildcards, "features_epoch{}.npz", epoch)


def cluster_final_inputs(wildcards):
    return {
        "features": last_features(wildcards),
        "labels": f"runs/{wildcards.run}/labels.npz",
    }


def evaluate_inputs(wildcards):
    epoch = checked_epoch(wildcards)
    return {
        "features": run_file(wildcards, "features_epoch{}.npz", epoch),
        "pseudo_labels": run_file(wildcards, "pseudo_epoch{}.npz", epoch),
        "truth": f"runs/{wildcards.run}/truth.npz",
    }


def report_inputs(wildcards):
    epochs = run_settings(wildcards).schedule.checkpoint_epochs()
    return [run_file(wildcards, "metrics_epoch{}.json", epoch) for epoch in epochs]


def assign_inputs(wildcards):
    folder, settings = f"runs/{wildcards.run}", run_settings(wildcards)
    inputs = {"split": f"{folder}/split.npz", "features": last_features(wildcards)}
    if settings.dataset.name == "photos":  # whose labels may have been corrected since
        labels = {"labels": f"{folder}/labels.npz", "pseudo_labels": f"{folder}/pseudo_final.npz"}
        return {**inputs, **labels}
    epoch = settings.schedule.checkpoint_epochs()[-1]
    return {**inputs, "pseudo_labels": run_file(wildcards, "pseudo_epoch{}.npz", epoch)}


def labels_flags(wildcards, input):
    return ["--labels", input.labels] if "labels" in input.keys() else []


def last_metrics(wildcards):
    """Metrics of the last epoch of each default run."""
    last = {run: RUNS[run].schedule.checkpoint_epochs()[-1] for run in DEFAULT_RUNS}
    return [f"runs/{run}/metrics_epoch{epoch:03d}.json" for run, epoch in last.items()]


def summary_metrics():
    """Name of each default run to the path of its last metrics."""
    return dict(zip(DEFAULT_RUNS, map(placed, last_metrics(None))))


def summary_runs(wildcards):
    if not DEFAULT_RUNS:
        raise WorkflowError("a table of no runs: name some under 'default_runs'")
    title = titles(RUNS, DEFAULT_RUNS)
    return [f"{title[run]}={path}" for run, path in summary_metrics().items()]


def summary_state(wildcards):
    return state_of_files(map(Path, summary_metrics().values()))


# What a job asks a cluster for. Where an input is not there yet, Snakemake asks again when it is.


def train_needs(wildcards, input, threads, attempt):
    first = previous_epoch(wildcards) or 0
    epochs = checked_epoch(wildcards) - first
    n, _ = array_shape(input.split, "indices")
    return train_request(run_settings(wildcards), epochs, n, input.size_mb, threads, attempt)


def features_needs(wildcards, input, threads, attempt):
    n, _ = array_shape(input.split, "indices")
    return features_request(run_settings(wildcards), n, input.size_mb, threads, attempt)


def cluster_needs(wildcards, input, threads, attempt):
    n, d = array_shape(input.features, "features")
    return cluster_request(run_settings(wildcards).clustering, n, d, threads, attempt)


def reading_needs(wildcards, input, threads, attempt):
    return reading_request(input.size_mb, attempt)


def memory(needs):
    def mem_mb(wildcards, input, threads, attempt):
        return needs(wildcards, input, threads, attempt).mem_mb

    return mem_mb


def walltime(needs):
    def runtime(wildcards, input, threads, attempt):
        return needs(wildcards, input, threads, attempt).runtime

    return runtime
>>>>>>> g-meta

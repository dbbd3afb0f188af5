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
    from gcdflow.config.runs import find_run, names_of_runs
    from gcdflow.planning import baselines, job_resources, parameters, plan
    from gcdflow.planning import shared_warmup, startup, stored_views, this_call
    from gcdflow.planning.job_resources import asks
    from gcdflow.planning.last_word import have_last_word
    from gcdflow.planning.parameters import RESULT_VERSIONS
    from gcdflow.planning.state import state_of_files
except ImportError as error:
    raise WorkflowError(foreign_interpreter(error) or str(error))

# An importing workflow may put all files of a module below a folder of its own (`prefix:`). Snakemake
# does so with inputs, outputs and logs; paths that come about otherwise go through this.
placed = workflow.modifier.path_modifier.replace_prefix

have_last_word(logger)
this_call.remember(workflow, sys.argv)
startup.check_checkout(CHECKOUT)
RUNS, DEFAULT_RUNS = startup.configured_runs(config, workflow.configfiles)

if workflow.is_main_process:
    for sentence in startup.mend_runs(
        {run: placed(f"runs/{run}") for run in RUNS}, placed(stored_views.FOLDER)
    ):
        logger.info(sentence)

VIEWS = stored_views.runs_by_views(RUNS, placed)
OWNERS = shared_warmup.warmup_owners(RUNS, placed)
# Runs that left the configuration give others what exists of them, which no rule makes again.
RUN = names_of_runs({*sum(VIEWS.values(), []), *OWNERS.values()} - RUNS.keys())
SUMMARY_METRICS = plan.summary_metrics(RUNS, DEFAULT_RUNS, placed)
SUMMARY_BASELINES = baselines.summary_baselines(RUNS, DEFAULT_RUNS, placed)


wildcard_constraints:
    run=RUN,
    epoch=r"\d{3}",


# Functions of the plan as Snakemake calls them, by what they ask for; `job` is what resources add.
# All runs that share stored views agree in their settings; the last is in the configuration.
def run_of(wildcards):
    if "views" in wildcards.keys():
        return stored_views.runs_of_views(VIEWS, wildcards.views)[-1]
    return wildcards.run


def settings_of(wildcards):
    return find_run(RUNS, run_of(wildcards))


def of_settings(function):
    return lambda wildcards, *job: function(settings_of(wildcards), *job)


def of_run(function, **options):
    return lambda wildcards, *job: (
        function(settings_of(wildcards), run_of(wildcards), *job, **options)
    )


def of_epoch(function):
    return lambda wildcards, *job: of_run(function)(wildcards, int(wildcards.epoch), *job)


# Weights lie where the stages look for them: below no prefix, in no storage.
def weights_of(wildcards):
    return [local(path) for path in of_run(plan.weights_files)(wildcards)]


# Params that ask for a job's files are none that Snakemake compares: they re-run nothing.
def flags_of(**flags):
    return lambda wildcards, input: parameters.input_flags(input, flags)


def log_dir(wildcards, output):
    return plan.log_dir(output[0])

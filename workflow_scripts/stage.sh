# The shell of each rule sources this file and calls `stage <name> <flags> | tee <log>`. If the job
# has inputs, it first calls `made <outputs> -- <inputs> -- <log>`, which names the files that the
# stage records (gcdflow.files.records). Rules that update their outputs add `-- <version> <params>`.
#
# A stage ends when the Snakemake that started it (the shell's parent) is gone. At the walltime, Slurm
# sends SIGTERM to the whole group. Shell and tee ignore it, so that the stage can save and report.
#
# This file also resets variables that Python reads before any of our code runs, and variables of
# launchers, which never start a stage of the workflow. gcdflow.surroundings does the rest. If PATH
# has no `python`, Snakemake was called by its path, and its own Python is used.
#
# Threads that wait for others sleep. By default they spin, which costs more than it gains as soon as
# anything else runs: training the digits with two threads of a busy machine takes three times as
# long, and of an idle one a sixth less.
set -euo pipefail
unset PYTHONINSPECT PYTHONOPTIMIZE PYTHONSAFEPATH PYTHONWARNINGS RANK LOCAL_RANK WORLD_SIZE
export PYTHONUTF8=1 PATH="$PATH:$GCDFLOW_PYTHON"
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
trap '' TERM
export GCDFLOW_WORKFLOW_PID=$PPID
made() { printf -v GCDFLOW_MADE '%s\n' "$@"; export GCDFLOW_MADE; }
stage() { python "$GCDFLOW_SCRIPTS/$1.py" "${@:2}"; }

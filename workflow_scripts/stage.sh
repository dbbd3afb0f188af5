# Read by the shell of each rule, which then calls `stage <name> <flags> | tee <log>`, and where
# the job has inputs before that `made <outputs> -- <inputs> -- <log>`: what the stage is to leave a
# record of (gcdflow.records).
#
# A stage ends when the Snakemake that it was started by (the shell's parent) is gone. A SIGTERM to
# the whole group (Slurm's at the walltime) is for the stage to answer: shell and tee must outlive
# it, or it could neither save in peace nor say that it did.
#
# What Python obeys before any code runs that could set it right is dealt with here, and so are the
# traces of a launcher, which no stage of the workflow is started by (gcdflow.surroundings has the
# rest). Where there is no `python`, Snakemake was called by its path, and its own is meant.
set -euo pipefail
unset PYTHONINSPECT PYTHONOPTIMIZE PYTHONSAFEPATH PYTHONWARNINGS RANK LOCAL_RANK WORLD_SIZE
export PYTHONUTF8=1 PATH="$PATH:$GCDFLOW_PYTHON"
trap '' TERM
export GCDFLOW_WORKFLOW_PID=$PPID
made() { printf -v GCDFLOW_MADE '%s\n' "$@"; export GCDFLOW_MADE; }
stage() { python "$GCDFLOW_SCRIPTS/$1.py" "${@:2}"; }

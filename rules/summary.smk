"""Uses the existing metrics of the last epochs of all default runs, and their baselines; makes their
tables.

Both are params (with a digest of the files), not inputs. So a table never starts a training, and a
run without metrics is shown as missing. If the same call asks for the reports of some runs, the table
waits for them. `snakemake --keep-going all` makes all runs.
"""


rule summary:
    """Write the tables of all default runs."""
    input:
        lambda wildcards: plan.results_asked_for(
            plan.summary_metrics(RUNS, DEFAULT_RUNS, str),
            baselines.summary_baselines(RUNS, DEFAULT_RUNS, str),
            workflow.dag_settings.targets,
            placed,
        ),
    output:
        tsv="results/summary.tsv",
        markdown="results/summary.md",
    log:
        "logs/summary.log",
    localrule: True
    conda:
        "../envs/cluster.yaml"
    params:
        runs=lambda wildcards: parameters.summary_runs(RUNS, SUMMARY_METRICS),
        baselines=SUMMARY_BASELINES,
        state=lambda wildcards: state_of_files([*SUMMARY_METRICS.values(), *SUMMARY_BASELINES]),
        version=RESULT_VERSIONS["summary"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage summary --tsv {output.tsv:q} --markdown {output.markdown:q} {params.runs:q}"
        " --baselines {params.baselines:q}"
        " 2>&1 | tee -i {log:q}"

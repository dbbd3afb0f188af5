"""Takes the metrics of the default runs' last epochs, as far as they are there; makes the tables of
all of them.

The metrics are no inputs but a param, with a digest of them: a table never trains, and a run that
is missing shows as missing. To make all runs, as far as they go: `snakemake --keep-going all`.
"""


rule summary:
    """Write the tables of all default runs."""
    output:
        tsv="results/summary.tsv",
        markdown="results/summary.md",
    log:
        "logs/summary.log",
    localrule: True
    conda:
        "../envs/cluster.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        runs=lambda wildcards: plan.summary_runs(RUNS, SUMMARY_METRICS),
        state=lambda wildcards: state_of_files(SUMMARY_METRICS.values()),
        version=RESULT_VERSIONS["summary"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage summary --tsv {output.tsv:q} --markdown {output.markdown:q} {params.runs:q}"
        " 2>&1 | tee -i {log:q}"

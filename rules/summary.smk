"""Takes the metrics of the default runs' last epochs, as far as they are there; makes the tables of
all of them.

The metrics are no inputs but a param, with a digest of them: a table never trains, and a run that
is missing shows as missing. To make all runs, as far as they go: `snakemake --keep-going all`.
"""


rule summary:
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
        runs=summary_runs,
        state=summary_state,
        version=RESULT_VERSIONS["summary"],
    message:
        "tables of the default runs"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage summary --tsv {output.tsv:q} --markdown {output.markdown:q} {params.runs:q}"
        " 2>&1 | tee -i {log:q}"

"""The tables of runs as HTML pages, which `snakemake --report` shows. Need the same metrics as
report.md and summary.md; unlike summary.md, the page of all default runs waits for them.
"""


rule report_page:
    """Write the table of a run as an HTML page."""
    input:
        report_inputs,
    output:
        report(
            "runs/{run}/report.html",
            caption="../report/table.rst",
            category="{run}",
            labels={"result": "Table"},
        ),
    log:
        "logs/{run}/report_page.log",
    localrule: True  # of a second, for which no queue is worth its wait
    conda:
        "../envs/cluster.yaml"
    resources:
        mem_mb=memory(reading_needs),
        runtime=walltime(reading_needs),
    params:
        version=RESULT_VERSIONS["pages"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage report --run {wildcards.run} --output {output:q} {input:q}"
        " 2>&1 | tee -i {log:q}"


rule summary_page:
    """Write the table of all default runs as an HTML page."""
    input:
        last_metrics,
    output:
        report(
            "results/summary.html",
            caption="../report/summary.rst",
            category="All runs",
            labels={"result": "Summary"},
        ),
    log:
        "logs/summary_page.log",
    localrule: True
    conda:
        "../envs/cluster.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        runs=summary_runs,
        version=RESULT_VERSIONS["pages"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage summary --html {output:q} {params.runs:q} 2>&1 | tee -i {log:q}"

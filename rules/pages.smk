"""Makes the tables of runs as HTML pages, which `snakemake --report` shows. Needs what
report.md and summary.md need. Unlike summary.md, the page of all default runs has it as inputs.
"""


use rule report as report_page with:
    """Write the table of a run as an HTML page."""
    output:
        report(
            "runs/{run}/report.html",
            caption="../report/table.rst",
            category="{run}",
            labels={"result": "Table"},
        ),
    log:
        "logs/{run}/report_page.log",
    localrule: True  # which is not inherited
    params:
        version=RESULT_VERSIONS["pages"],


rule summary_page:
    """Write the table of all default runs as an HTML page."""
    input:
        metrics=list(plan.summary_metrics(RUNS, DEFAULT_RUNS, str).values()),
        baselines=baselines.summary_baselines(RUNS, DEFAULT_RUNS, str),
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
    params:
        runs=lambda wildcards: parameters.summary_runs(RUNS, SUMMARY_METRICS),
        version=RESULT_VERSIONS["pages"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage summary --html {output:q} {params.runs:q} --baselines {input.baselines:q}"
        " 2>&1 | tee -i {log:q}"

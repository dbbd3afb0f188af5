"""Needs the metrics of all checkpoint epochs of a run, and of its baselines; makes its table. The
stage does not read the file of settings; it is an input so that every run with a table has one.
"""


rule report:
    """Write the table of a run's epochs."""
    input:
        metrics=of_run(plan.report_inputs),
        baselines=of_run(baselines.baselines),
        grids=of_run(baselines.compared_grids),
        settings="runs/{run}/config.yaml",
    output:
        "runs/{run}/report.md",
    log:
        "logs/{run}/report.log",
    localrule: True  # takes a second, too little for a queue
    conda:
        "../envs/cluster.yaml"
    params:
        version=RESULT_VERSIONS["report"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage report --run {wildcards.run} --output {output:q} {input.metrics:q}"
        " --baselines {input.baselines:q}"
        " 2>&1 | tee -i {log:q}"

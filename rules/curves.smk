"""Needs the metrics of all checkpoint epochs of a run, because the event log is then complete; makes
a picture of the curves in the log.
"""


rule curves:
    """Draw losses, accuracy and clusters of a run over its epochs."""
    input:
        of_run(plan.report_inputs),
    output:
        report(
            "runs/{run}/curves.png",
            caption="../report/curves.rst",
            category="{run}",
            labels={"result": "Curves"},
        ),
    log:
        "logs/{run}/curves.log",
    localrule: True  # takes a second, too little for a queue
    conda:
        "../envs/cluster.yaml"
    params:
        log_dir=log_dir,
        version=RESULT_VERSIONS["curves"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage curves --log-dir {params.log_dir:q} --output {output:q}"
        " --title {wildcards.run} 2>&1 | tee -i {log:q}"

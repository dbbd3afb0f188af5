"""Needs the metrics of all checkpoint epochs of a run; makes its table."""


rule report:
    input:
        report_inputs,
    output:
        "runs/{run}/report.md",
    log:
        "logs/{run}/report.log",
    localrule: True  # of a second, for which no queue is worth its wait
    conda:
        "../envs/cluster.yaml"
    resources:
        mem_mb=memory(reading_needs),
        runtime=walltime(reading_needs),
    message:
        "{wildcards.run}: report"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage report --run {wildcards.run} --output {output:q} {input:q}"
        " 2>&1 | tee -i {log:q}"

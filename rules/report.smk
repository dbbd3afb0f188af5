"""Needs the metrics of all checkpoint epochs of a run; makes its table."""


rule report:
    input:
        report_inputs,
    output:
        "runs/{run}/report.md",
    log:
        "logs/{run}/report.log",
    conda:
        "../envs/cluster.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    message:
        "{wildcards.run}: report"
    shell:
        "stage report --run {wildcards.run} --output {output:q} {input:q}" " 2>&1 | tee -i {log:q}"

"""Needs feature cache, pseudo labels and the truth; makes the metrics of an epoch, which only the
report reads.
"""


rule evaluate:
    input:
        unpack(evaluate_inputs),
    output:
        "runs/{run}/metrics_epoch{epoch}.json",
    log:
        "logs/{run}/evaluate_epoch{epoch}.log",
    conda:
        "../envs/cluster.yaml"
    threads: 4
    resources:
        mem_mb=memory(reading_needs),
        runtime=walltime(reading_needs),
    params:
        version=RESULT_VERSIONS["evaluate"],
    message:
        "{wildcards.run}: evaluate epoch {wildcards.epoch}"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage evaluate --features {input.features:q}"
        " --pseudo-labels {input.pseudo_labels:q} --truth {input.truth:q} --output {output:q}"
        ' --log-dir "$(dirname {output:q})/log"'
        " --threads {threads} 2>&1 | tee -i {log:q}"

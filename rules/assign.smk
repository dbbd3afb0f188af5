"""Needs split.npz, and feature cache and pseudo labels of a run's last checkpoint epoch; makes the
table of all images with their categories. A run on photographs takes the present labels instead.
"""


rule assign:
    input:
        unpack(assign_inputs),
    output:
        "runs/{run}/assignments.csv",
    log:
        "logs/{run}/assign.log",
    conda:
        "../envs/cluster.yaml"
    threads: 4
    resources:
        mem_mb=memory(reading_needs),
        runtime=walltime(reading_needs),
    params:
        labels=labels_flags,
        version=RESULT_VERSIONS["assign"],
    message:
        "{wildcards.run}: categories of all images"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage assign --split {input.split:q} --features {input.features:q}"
        " --pseudo-labels {input.pseudo_labels:q} {params.labels:q} --output {output:q} --threads {threads}"
        " 2>&1 | tee -i {log:q}"

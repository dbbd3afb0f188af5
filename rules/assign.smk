"""Needs split.npz, and the features and pseudo labels of the last checkpoint epoch; makes the table
of all images with their categories. A run on photographs uses the clustering with the current
labels, and those photographs that are there now.
"""


rule assign:
    """Give every image of a run its category."""
    input:
        unpack(of_run(plan.assign_inputs)),
    output:
        "runs/{run}/assignments.csv",
    log:
        "logs/{run}/assign.log",
    conda:
        "../envs/cluster.yaml"
    threads: 4
    resources:
        **asks(of_settings(job_resources.reading_request)),
    params:
        current=flags_of(labels="--labels", photographs="--photographs", added="--added"),
        version=RESULT_VERSIONS["assign"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage assign --split {input.split:q} --features {input.features:q}"
        " --pseudo-labels {input.pseudo_labels:q} {params.current:q} --output {output:q} --threads {threads}"
        " 2>&1 | tee -i {log:q}"

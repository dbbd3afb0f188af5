"""Needs a checkpoint with a classifier and its feature cache; makes the category that the classifier
gives each image.
"""


rule classes:
    """Classify the images by the classifier of a checkpoint epoch."""
    input:
        unpack(of_epoch(plan.classes_inputs)),
    output:
        "runs/{run}/classes_epoch{epoch}.npz",
    log:
        "logs/{run}/classes_epoch{epoch}.log",
    conda:
        "../envs/train.yaml"
    resources:
        **asks(of_settings(job_resources.reading_request)),
    params:
        version=RESULT_VERSIONS["classes"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage classes --checkpoint {input.checkpoint:q} --features {input.features:q}"
        " --output {output:q} 2>&1 | tee -i {log:q}"

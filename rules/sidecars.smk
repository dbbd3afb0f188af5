"""Needs split.npz and the table of the images' categories; makes a folder of XMP sidecars, only if
asked for.
"""


rule sidecars:
    """Write the category of each image as a keyword, for photo programs."""
    input:
        split="runs/{run}/split.npz",
        assignments="runs/{run}/assignments.csv",
    output:
        directory("runs/{run}/sidecars"),
    log:
        "logs/{run}/sidecars.log",
    conda:
        "../envs/cluster.yaml"
    resources:
        **asks(of_settings(job_resources.reading_request)),
    params:
        version=RESULT_VERSIONS["sidecars"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage sidecars --split {input.split:q} --assignments {input.assignments:q}"
        " --output {output:q} 2>&1 | tee -i {log:q}"

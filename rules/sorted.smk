"""Needs split.npz, the images and the table of their categories; makes a folder for each category. Of
the images it has links, or copies of them: two targets, which nothing else needs.
"""


rule sorted:
    """Write a folder for each category, with links to its images."""
    input:
        split="runs/{run}/split.npz",
        assignments="runs/{run}/assignments.csv",
    output:
        directory("runs/{run}/sorted"),
    log:
        "logs/{run}/sorted.log",
    conda:
        "../envs/cluster.yaml"
    resources:
        **asks(of_settings(job_resources.reading_request)),
    params:
        copies="",
        version=RESULT_VERSIONS["sorted"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage sorted --split {input.split:q} --assignments {input.assignments:q} {params.copies}"
        " --output {output:q} 2>&1 | tee -i {log:q}"


use rule sorted as sorted_copies with:
    output:
        directory("runs/{run}/sorted_copies"),
    log:
        "logs/{run}/sorted_copies.log",
    params:
        copies="--copies",

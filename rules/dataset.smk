"""Needs the images of the run's dataset; makes split.npz (for all stages) and truth.npz.

Every image is decoded once, so that a broken one is found here and not in training.
"""


rule dataset:
    output:
        split="runs/{run}/split.npz",
        truth="runs/{run}/truth.npz",
    log:
        "logs/{run}/dataset.log",
    retries: 0  # fails for what people bring, which a repetition does not change
    conda:
        "../envs/cluster.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=dataset_settings,
        version=RESULT_VERSIONS["dataset"],
    message:
        "{wildcards.run}: scan the dataset"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage dataset --settings {params.settings:q}"
        " --split {output.split:q} --truth {output.truth:q} --threads {threads} 2>&1 | tee -i {log:q}"

"""Needs the images of the run's dataset; makes split.npz (for all stages) and truth.npz."""


def dataset_settings(wildcards):
    return as_json(run_settings(wildcards).dataset)


rule dataset:
    output:
        split="runs/{run}/split.npz",
        truth="runs/{run}/truth.npz",
    params:
        settings=dataset_settings,
        version=RESULT_VERSIONS["dataset"],
    log:
        "logs/{run}/dataset.log",
    conda:
        "../envs/cluster.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    message:
        "{wildcards.run}: scan the dataset"
    shell:
        "python {SCRIPTS}/dataset.py --settings {params.settings:q}"
        " --split {output.split:q} --truth {output.truth:q} 2>&1 | tee -i {log:q}"

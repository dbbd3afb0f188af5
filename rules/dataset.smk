"""Needs the images of the run's dataset; makes split.npz (for all stages) and truth.npz.

The rule decodes every image once, so that broken ones are found here and not in training.

Both files are kept when the rule runs again (`update`): if it fails, because of a typing error in a
file of labels for instance, a finished run stays what it was.
"""


rule dataset:
    """Scan the images of a run's dataset, and separate the truth."""
    input:
        lambda wildcards: plan.images_of_split(
            settings_of(wildcards),
            placed(f"runs/{wildcards.run}/split.npz"),
            this_call.starts_jobs(workflow),
        ),
    output:
        split=update("runs/{run}/split.npz"),
        truth=update("runs/{run}/truth.npz"),
    log:
        "logs/{run}/dataset.log",
    priority: 1  # so it comes before the weights, which may take minutes
    retries: 0  # fails because of bad input, which a retry does not change
    conda:
        "../envs/cluster.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=240,  # of many large images; it is not retried
    params:
        settings=of_settings(parameters.dataset_settings),
        seen=lambda wildcards, output: plan.seen_photographs(output[0]),
        version=parameters.updating(RESULT_VERSIONS["dataset"], "runs/{run}/split.npz", placed),
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- -- {log:q} -- {params.version} {params.settings:q}; "
        "stage dataset --settings {params.settings:q} --seen {params.seen:q}"
        " --split {output.split:q} --truth {output.truth:q} --threads {threads} 2>&1 | tee -i {log:q}"

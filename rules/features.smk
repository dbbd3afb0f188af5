"""Needs split.npz, a checkpoint and, where the run has some, stored views; makes the feature cache of
its epoch.
"""


rule features:
    """Extract the features of all images at a checkpoint epoch."""
    input:
        unpack(of_epoch(plan.features_inputs)),
        weights=weights_of,
    output:
        "runs/{run}/features_epoch{epoch}.npz",
    log:
        "logs/{run}/features_epoch{epoch}.log",
    benchmark:
        "logs/{run}/features_epoch{epoch}.benchmark.tsv"
    conda:
        "../envs/train.yaml"
    threads: 8
    resources:
        **asks(of_settings(job_resources.features_request)),
        gpu=1,
        num_workers="auto",
    params:
        views=flags_of(views="--views"),
        weights=flags_of(weights="--weights"),
        version=RESULT_VERSIONS["features"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage features --checkpoint {input.checkpoint:q} --split {input.split:q}"
        " {params.weights:q} {params.views:q}"
        " --output {output:q} --threads {threads} --num-workers {resources.num_workers}"
        " 2>&1 | tee -i {log:q}"

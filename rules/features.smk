"""Needs split.npz and a checkpoint; makes the feature cache of its epoch."""


rule features:
    input:
        unpack(features_inputs),
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
        gpu=1,
        num_workers="auto",
        mem_mb=memory(features_needs),
        runtime=walltime(features_needs),
    params:
        version=RESULT_VERSIONS["features"],
    message:
        "{wildcards.run}: features at epoch {wildcards.epoch}"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage features --checkpoint {input.checkpoint:q} --split {input.split:q}"
        " --output {output:q} --threads {threads} --num-workers {resources.num_workers}"
        " 2>&1 | tee -i {log:q}"

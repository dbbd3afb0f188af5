"""Needs split.npz and, after the warm-up, checkpoint and pseudo labels of the epoch before; makes
the checkpoint of an epoch.

A killed segment goes on from its rolling checkpoint in runs/{run}/.rolling, which is no output (the
outputs of a failed rule are deleted) and is refused if settings or inputs have changed.
"""


rule train:
    input:
        unpack(train_inputs),
    output:
        "runs/{run}/ckpt_epoch{epoch}.pt",
    log:
        "logs/{run}/train_epoch{epoch}.log",
    benchmark:
        "logs/{run}/train_epoch{epoch}.benchmark.tsv"
    conda:
        "../envs/train.yaml"
    threads: train_threads
    resources:
        gpu=train_gpus,
        num_workers="auto",
        mem_mb=memory(train_needs),
        runtime=walltime(train_needs),
    params:
        settings=train_settings,
        resume=resume_flags,
        version=RESULT_VERSIONS["train"],
    message:
        "{wildcards.run}: train to epoch {wildcards.epoch}"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage train --settings {params.settings:q} --split {input.split:q}"
        " {params.resume:q} --stop-at-epoch $((10#{wildcards.epoch})) --output {output:q}"
        ' --log-dir "$(dirname {output:q})/log" --result-version {params.version}'
        " --threads {threads} --gpus {resources.gpu} --num-workers {resources.num_workers}"
        " 2>&1 | tee -i {log:q}"

"""Needs the warm-up of another run, which agrees in all settings that a warm-up depends on; makes the
same checkpoint of the run's own. It also needs what the run would train from: if that changes, so
does the warm-up.

A run that has its checkpoint keeps it if the other one is made again, or deleted (`ancient`). The
file is a copy, no link: Snakemake gives an output the time of its job's end, and by a link the other
run's file would become newer than what was made from it.
"""


rule share:
    """Take the checkpoint of the same warm-up from another run."""
    input:
        unpack(of_epoch(plan.train_inputs)),
        weights=weights_of,
        warmup=lambda wildcards: ancient(
            shared_warmup.taken_checkpoint(OWNERS, wildcards.run, int(wildcards.epoch))
        ),
    output:
        "runs/{run}/ckpt_epoch{epoch}.pt",
    log:
        "logs/{run}/share_epoch{epoch}.log",
    wildcard_constraints:
        run=shared_warmup.taking_runs(OWNERS, RUNS),
    retries: 0  # fails because of other images, which a retry does not change
    localrule: True  # copies a file
    conda:
        "../envs/train.yaml"
    params:
        weights=flags_of(weights="--weights"),
        settings=of_epoch(parameters.train_settings),
        log_dir=log_dir,
        version=RESULT_VERSIONS["train"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage share --settings {params.settings:q} --split {input.split:q}"
        " {params.weights:q} --checkpoint {input.warmup:q} --output {output:q}"
        " --log-dir {params.log_dir:q} 2>&1 | tee -i {log:q}"

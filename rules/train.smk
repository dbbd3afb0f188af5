"""Needs split.npz, stored views where the run has some and, after the warm-up, the checkpoint of the
epoch before and the pseudo labels that guide (those of that epoch; for a classifier that does not
restart at each refresh those after the warm-up, or none); makes the checkpoint of an epoch, but of a
warm-up that rules/share.smk takes from another run.

A killed segment resumes from its rolling checkpoint in runs/{run}/.rolling, which is no output (the
outputs of a failed rule are deleted) and is refused if settings or inputs have changed.
"""


rule train:
    """Train one segment of a run, to a checkpoint epoch."""
    input:
        unpack(of_epoch(plan.train_inputs)),
        weights=weights_of,
    output:
        "runs/{run}/ckpt_epoch{epoch}.pt",
    log:
        "logs/{run}/train_epoch{epoch}.log",
    benchmark:
        "logs/{run}/train_epoch{epoch}.benchmark.tsv"
    wildcard_constraints:
        run=shared_warmup.training_runs(OWNERS, RUNS, RUN),
    conda:
        "../envs/train.yaml"
    threads: of_settings(job_resources.train_threads)
    resources:
        **asks(of_epoch(job_resources.train_request)),
        gpu=of_settings(lambda settings: settings.gpus),
        num_workers="auto",
    params:
        weights=flags_of(weights="--weights"),
        settings=of_epoch(parameters.train_settings),
        resume=flags_of(
            checkpoint="--resume-from-ckpt", pseudo_labels="--pseudo-labels", views="--views"
        ),
        limits=lambda wildcards, input: parameters.limit_flags(settings_of(wildcards)),
        log_dir=log_dir,
        version=RESULT_VERSIONS["train"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage train --settings {params.settings:q} --split {input.split:q}"
        " {params.weights:q} {params.resume:q} {params.limits:q}"
        " --stop-at-epoch {wildcards.epoch} --output {output:q} --log-dir {params.log_dir:q}"
        " --result-version {params.version}"
        " --threads {threads} --gpus {resources.gpu} --num-workers {resources.num_workers}"
        " 2>&1 | tee -i {log:q}"

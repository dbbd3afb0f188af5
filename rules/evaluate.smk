"""Needs feature cache, pseudo labels, the truth and, where the run has a classifier, its categories;
makes the metrics of an epoch, which only tables and curves use. With `clustering.label_draws` it
searches again for each draw of labels.
"""


rule evaluate:
    """Measure the accuracy of an epoch against the hidden truth."""
    input:
        unpack(of_epoch(plan.evaluate_inputs)),
    output:
        "runs/{run}/metrics_epoch{epoch}.json",
    log:
        "logs/{run}/evaluate_epoch{epoch}.log",
    conda:
        "../envs/cluster.yaml"
    threads: 4
    resources:
        **asks(of_settings(job_resources.evaluate_request)),
    params:
        classes=flags_of(classes="--classes"),
        draws=of_settings(parameters.evaluate_flags),
        log_dir=log_dir,
        version=RESULT_VERSIONS["evaluate"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage evaluate --features {input.features:q}"
        " --pseudo-labels {input.pseudo_labels:q} --truth {input.truth:q}"
        " {params.classes:q} --output {output:q} {params.draws:q}"
        " --log-dir {params.log_dir:q} --threads {threads} 2>&1 | tee -i {log:q}"

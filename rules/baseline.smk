"""Needs a feature cache and the truth, as an evaluation does; makes the clustering of an epoch's
features by another method, measured against the truth. Only the tables of runs that name the method
in `baselines` ask for it; it is a target for every run. Methods that need a number of clusters share
the estimates of the rule `estimate`, which does not read the truth.
"""


rule estimate:
    """Estimate the number of clusters of an epoch's features, without the truth."""
    input:
        unpack(of_epoch(baselines.estimate_inputs)),
    output:
        "runs/{run}/estimates_epoch{epoch}.json",
    log:
        "logs/{run}/estimate_epoch{epoch}.log",
    conda:
        "../envs/baseline.yaml"
    threads: 8
    resources:
        **asks(of_settings(job_resources.estimate_request)),
    params:
        normalize=of_settings(baselines.baseline_flags),
        version=RESULT_VERSIONS["estimate"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage estimate --features {input.features:q} {params.normalize:q}"
        " --output {output:q} --threads {threads} 2>&1 | tee -i {log:q}"


rule baseline:
    """Cluster the features of an epoch by another method, to compare with."""
    input:
        unpack(lambda wildcards: of_epoch(baselines.baseline_inputs)(wildcards, wildcards.method)),
    output:
        "runs/{run}/baseline_{method}_epoch{epoch}.json",
    log:
        "logs/{run}/baseline_{method}_epoch{epoch}.log",
    wildcard_constraints:
        method=baselines.METHOD,
    conda:
        "../envs/baseline.yaml"
    threads: 8
    resources:
        **asks(of_settings(job_resources.baseline_request)),
    params:
        estimates=flags_of(estimates="--estimates"),
        normalize=of_settings(baselines.baseline_flags),
        version=RESULT_VERSIONS["baseline"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage baseline --method {wildcards.method} --features {input.features:q}"
        " --truth {input.truth:q} {params.estimates:q} {params.normalize:q} --output {output:q}"
        " --threads {threads} 2>&1 | tee -i {log:q}"

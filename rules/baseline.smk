"""Needs a feature cache and the truth, as an evaluation does; makes the clustering of an epoch's
features by another method, measured against the truth. Only the tables of runs that name the method
in `baselines` ask for it; it is a target for every run.
"""


rule baseline:
    """Cluster the features of an epoch by another method, to compare with."""
    input:
        unpack(of_epoch(baselines.baseline_inputs)),
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
        mem_mb=requested("mem_mb", of_settings(baselines.baseline_request)),
        runtime=requested("runtime", of_settings(baselines.baseline_request)),
    params:
        normalize=of_settings(baselines.baseline_flags),
        version=RESULT_VERSIONS["baseline"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage baseline --method {wildcards.method} --features {input.features:q}"
        " --truth {input.truth:q} {params.normalize:q} --output {output:q} --threads {threads}"
        " 2>&1 | tee -i {log:q}"

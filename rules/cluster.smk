"""Needs a feature cache and, after the first refresh, the previous pseudo labels (only to compare
with them); makes pseudo labels and the table of the grid search.
"""


rule cluster:
    """Cluster the features of an epoch into pseudo labels."""
    input:
        unpack(of_epoch(plan.cluster_inputs)),
    output:
        pseudo="runs/{run}/pseudo_epoch{epoch}.npz",
        grid="runs/{run}/grid_epoch{epoch}.tsv",
    log:
        "logs/{run}/cluster_epoch{epoch}.log",
    benchmark:
        "logs/{run}/cluster_epoch{epoch}.benchmark.tsv"
    conda:
        "../envs/cluster.yaml"
    threads: 32
    resources:
        **asks(of_settings(job_resources.cluster_request)),
        gpu=of_settings(job_resources.cluster_gpus),
    params:
        grid=of_settings(parameters.cluster_flags),
        previous=flags_of(previous="--previous"),
        log_dir=log_dir,
        version=RESULT_VERSIONS["cluster"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage cluster --features {input.features:q} --output {output.pseudo:q}"
        " --grid-table {output.grid:q} {params.grid:q} {params.previous:q}"
        " --log-dir {params.log_dir:q} --threads {threads} --gpus {resources.gpu}"
        " 2>&1 | tee -i {log:q}"

"""Needs a feature cache and, after the first refresh, the pseudo labels of the one before (only to
count the labels that changed); makes pseudo labels and the table of the grid search.
"""


rule cluster:
    input:
        unpack(cluster_inputs),
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
        mem_mb=memory(cluster_needs),
        runtime=walltime(cluster_needs),
    params:
        grid=cluster_flags,
        previous=previous_flags,
        version=RESULT_VERSIONS["cluster"],
    message:
        "{wildcards.run}: cluster the features of epoch {wildcards.epoch}"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage cluster --features {input.features:q} --output {output.pseudo:q}"
        " --grid-table {output.grid:q} {params.grid:q} {params.previous:q}"
        ' --log-dir "$(dirname {output.pseudo:q})/log"'
        " --threads {threads} 2>&1 | tee -i {log:q}"

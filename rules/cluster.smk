"""Needs a feature cache and, after the first refresh, the pseudo labels of the one before (only to
count the labels that changed); makes pseudo labels and the table of the grid search.

With `cluster_shards: N`, N > 1, the search itself is made by jobs of their own: `neighbours` once,
`cluster_shard` for each part of the grid, `score_shard` for each part of the samples. `cluster` then
gathers what they leave. All their files are temporary. They are named by shard and number of shards:

    runs/{run}/neighbours_epoch{epoch}.npz
    runs/{run}/clusterings_epoch{epoch}_{shard}of{shards}.npz
    runs/{run}/silhouettes_epoch{epoch}_{shard}of{shards}.npz
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
    threads: cluster_threads
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


rule neighbours:
    input:
        features="runs/{run}/features_epoch{epoch}.npz",
    output:
        temp("runs/{run}/neighbours_epoch{epoch}.npz"),
    log:
        "logs/{run}/neighbours_epoch{epoch}.log",
    benchmark:
        "logs/{run}/neighbours_epoch{epoch}.benchmark.tsv"
    conda:
        "../envs/cluster.yaml"
    threads: 32
    resources:
        mem_mb=memory(cluster_needs),
        runtime=walltime(cluster_needs),
    params:
        grid=shared_flags,
        version=RESULT_VERSIONS["cluster"],
    message:
        "{wildcards.run}: neighbours in the features of epoch {wildcards.epoch}"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage neighbours --features {input.features:q} --output {output:q} {params.grid:q}"
        " --threads {threads} 2>&1 | tee -i {log:q}"


rule cluster_shard:
    input:
        features="runs/{run}/features_epoch{epoch}.npz",
        neighbours="runs/{run}/neighbours_epoch{epoch}.npz",
    output:
        temp("runs/{run}/clusterings_epoch{epoch}_{shard}of{shards}.npz"),
    log:
        "logs/{run}/cluster_shard_epoch{epoch}_{shard}of{shards}.log",
    benchmark:
        "logs/{run}/cluster_shard_epoch{epoch}_{shard}of{shards}.benchmark.tsv"
    conda:
        "../envs/cluster.yaml"
    threads: 32
    resources:
        mem_mb=memory(cluster_needs),
        runtime=walltime(cluster_needs),
    params:
        grid=shared_flags,
        version=RESULT_VERSIONS["cluster"],
    message:
        "{wildcards.run}: cluster the features of epoch {wildcards.epoch}, shard"
        " {wildcards.shard} of {wildcards.shards}"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage cluster_shard --features {input.features:q} --neighbours {input.neighbours:q}"
        " --shard {wildcards.shard}/{wildcards.shards} --output {output:q} {params.grid:q}"
        " --threads {threads} 2>&1 | tee -i {log:q}"


rule score_shard:
    input:
        features="runs/{run}/features_epoch{epoch}.npz",
        clusterings=clusterings_of_shards,
    output:
        temp("runs/{run}/silhouettes_epoch{epoch}_{shard}of{shards}.npz"),
    log:
        "logs/{run}/score_shard_epoch{epoch}_{shard}of{shards}.log",
    benchmark:
        "logs/{run}/score_shard_epoch{epoch}_{shard}of{shards}.benchmark.tsv"
    conda:
        "../envs/cluster.yaml"
    threads: 32
    resources:
        mem_mb=memory(cluster_needs),
        runtime=walltime(cluster_needs),
    params:
        grid=shared_flags,
        version=RESULT_VERSIONS["cluster"],
    message:
        "{wildcards.run}: silhouettes at epoch {wildcards.epoch}, shard {wildcards.shard} of"
        " {wildcards.shards}"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage score_shard --features {input.features:q} --clusterings {input.clusterings:q}"
        " --shard {wildcards.shard}/{wildcards.shards} --output {output:q} {params.grid:q}"
        " --threads {threads} 2>&1 | tee -i {log:q}"

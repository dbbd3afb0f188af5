"""Needs a feature cache and, after the first refresh, the pseudo labels of the one before (only to
count the labels that changed); makes pseudo labels and the table of the grid search.
"""


def cluster_inputs(wildcards):
    epoch, previous = checked_epoch(wildcards), previous_epoch(wildcards)
    inputs = {"features": run_file(wildcards, "features_epoch{}.npz", epoch)}
    if previous is not None:
        inputs["previous"] = run_file(wildcards, "pseudo_epoch{}.npz", previous)
    return inputs


def cluster_flags(wildcards):
    settings = run_settings(wildcards).clustering
    flags = ["--k", settings.k, "--percentile", settings.percentile]
    flags += ["--w-ce", str(settings.w_ce), "--w-sil", str(settings.w_sil)]
    return flags if settings.normalize else [*flags, "--no-normalize"]


def previous_flags(wildcards, input):
    return ["--previous", input.previous] if "previous" in input.keys() else []


rule cluster:
    input:
        unpack(cluster_inputs),
    output:
        pseudo="runs/{run}/pseudo_epoch{epoch}.npz",
        grid="runs/{run}/grid_epoch{epoch}.tsv",
    params:
        grid=cluster_flags,
        previous=previous_flags,
        version=RESULT_VERSIONS["cluster"],
    log:
        "logs/{run}/cluster_epoch{epoch}.log",
    benchmark:
        "logs/{run}/cluster_epoch{epoch}.benchmark.tsv"
    conda:
        "../envs/cluster.yaml"
    threads: 32
    resources:
        mem_mb=16000,
        runtime=240,
    message:
        "{wildcards.run}: cluster the features of epoch {wildcards.epoch}"
    shell:
        "python {SCRIPTS}/cluster.py --features {input.features:q} --output {output.pseudo:q}"
        " --grid-table {output.grid:q} {params.grid:q} {params.previous:q}"
        " --log-dir runs/{wildcards.run}/log --threads {threads} 2>&1 | tee -i {log:q}"

"""For runs on somebody's photographs. Needs the CSV file of labels as it is now and the features of
the last epoch; makes the labels and the clustering that assignments and gallery are made from.

The dataset rule reads the CSV file once, and has no input that would change with it: training goes
by the labels that were there when it began. A correction re-runs only what is here, and what
follows from it. To train again with all labels and photographs, the target comes first, since
--forcerun takes all that follows it: `snakemake --cores all runs/photos/gallery.html --forcerun
dataset`.

The CSV file is no input of `labels` but a param, with a digest of it and of the names in the folder:
so what is missing or has come there makes the stage run, which says what to do about it.
"""


rule labels:
    """Read the labels of photographs as they are now."""
    input:
        unpack(of_run(plan.labels_inputs)),
    output:
        "runs/{run}/labels.npz",
    log:
        "logs/{run}/labels.log",
    retries: 0  # fails for what people bring, which a repetition does not change
    conda:
        "../envs/cluster.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        table=of_settings(plan.labels_table),
        state=of_settings(plan.photographs_state),
        version=RESULT_VERSIONS["labels"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage labels --table {params.table:q} --split {input.split:q} --run {wildcards.run}"
        " --output {output:q} 2>&1 | tee -i {log:q}"


rule cluster_final:
    """Cluster the last features with the labels as they are now."""
    input:
        unpack(of_run(plan.cluster_final_inputs)),
    output:
        pseudo="runs/{run}/pseudo_final.npz",
        grid="runs/{run}/grid_final.tsv",
    log:
        "logs/{run}/cluster_final.log",
    benchmark:
        "logs/{run}/cluster_final.benchmark.tsv"
    conda:
        "../envs/cluster.yaml"
    threads: 32
    resources:
        mem_mb=memory(of_settings(plan.cluster_request)),
        runtime=walltime(of_settings(plan.cluster_request)),
    params:
        grid=of_settings(plan.cluster_flags),
        version=RESULT_VERSIONS["cluster"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage cluster --features {input.features:q} --labels {input.labels:q}"
        " --output {output.pseudo:q} --grid-table {output.grid:q} {params.grid:q}"
        " --threads {threads} 2>&1 | tee -i {log:q}"

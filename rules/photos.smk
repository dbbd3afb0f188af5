"""For runs on the user's photographs. Needs the current CSV file of labels and the features of the
last epoch; makes the labels and the clustering for assignments and gallery.

Training uses the labels that the dataset rule read when training started. The CSV file is no input
of that rule, so a correction re-runs only the rules in this file and those after them. To train
again with all labels and photographs, use `snakemake --cores all runs/photos/gallery.html --forcerun
dataset`. The target comes first, because --forcerun takes all words after it as rules.

The CSV file is a param of `labels`, not an input, with a digest of the file and of the names in the
folder. If files are missing or new, the stage therefore runs and tells the user what to do.

Thumbnails depend on the photographs only: a correction does not read them again.
"""


rule labels:
    """Read the current labels of photographs."""
    input:
        unpack(of_run(plan.labels_inputs)),
    output:
        "runs/{run}/labels.npz",
    log:
        "logs/{run}/labels.log",
    retries: 0  # fails because of bad input, which a retry does not change
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
    """Cluster the last features with the current labels."""
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
        mem_mb=requested("mem_mb", of_settings(plan.cluster_request)),
        runtime=requested("runtime", of_settings(plan.cluster_request)),
    params:
        grid=of_settings(plan.cluster_flags),
        version=RESULT_VERSIONS["cluster"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage cluster --features {input.features:q} --labels {input.labels:q}"
        " --output {output.pseudo:q} --grid-table {output.grid:q} {params.grid:q}"
        " --threads {threads} 2>&1 | tee -i {log:q}"


rule thumbs:
    """Make a thumbnail of every photograph, for the gallery."""
    input:
        unpack(of_run(plan.labels_inputs)),
    output:
        "runs/{run}/thumbs.tsv",
    log:
        "logs/{run}/thumbs.log",
    conda:
        "../envs/cluster.yaml"
    threads: 4
    resources:
        mem_mb=requested("mem_mb", of_settings(plan.reading_request)),
        runtime=requested("runtime", of_settings(plan.reading_request)),
    params:
        version=RESULT_VERSIONS["thumbs"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage thumbs --split {input.split:q} --output {output:q} --threads {threads}"
        " 2>&1 | tee -i {log:q}"

"""For runs on the user's photographs. Needs their folder, the current CSV file of labels, and the
checkpoint and features of the last epoch; makes what assignments and gallery need: where the
photographs are now, features of those that were added, labels, and a clustering with these.

Training uses the photographs and labels that the dataset rule read when it started. Folder and CSV
file are no inputs of that rule, so a change re-runs only rules in this file and those after them. To
train again with all labels and photographs, use `snakemake --cores all runs/photos/gallery.html
--forcerun dataset`. The target comes first, because --forcerun takes all words after it as rules.

Folder and CSV file are params, by a digest. Photographs that the CSV file does not list come and go
without another clustering. Therefore `labels` has no list of photographs as an input: it looks for
itself, and by the list of the last time, if there is one, it recognises those that were renamed. Two
files are kept when their rules run again (`update`), so that no photograph is read twice.

Thumbnails depend on the photographs only: a correction does not read them again.
"""


rule photographs:
    """List the photographs of a run that are there now."""
    input:
        unpack(of_run(plan.photographs_inputs)),
    output:
        update("runs/{run}/photographs.npz"),
    log:
        "logs/{run}/photographs.log",
    retries: 0  # fails because of bad input, which a retry does not change
    conda:
        "../envs/cluster.yaml"
    threads: 4
    resources:
        **asks(of_settings(job_resources.reading_request)),
    params:
        state=of_settings(parameters.photographs_state),
        version=parameters.updating(
            RESULT_VERSIONS["photographs"], "runs/{run}/photographs.npz", placed
        ),
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q} -- {params.version} {params.state:q}; "
        "stage photographs --split {input.split:q} --output {output:q} --threads {threads}"
        " 2>&1 | tee -i {log:q}"


rule added:
    """Extract the features of photographs that were added since training."""
    input:
        unpack(of_run(plan.added_inputs)),
        weights=weights_of,
    output:
        update("runs/{run}/features_added.npz"),
    log:
        "logs/{run}/added.log",
    conda:
        "../envs/train.yaml"
    threads: 8
    resources:
        **asks(of_settings(job_resources.features_request)),
        gpu=1,
        num_workers="auto",
    params:
        weights=flags_of(weights="--weights"),
        version=parameters.updating(
            RESULT_VERSIONS["added"], "runs/{run}/features_added.npz", placed
        ),
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q} -- {params.version}; "
        "stage added --split {input.split:q} --photographs {input.photographs:q}"
        " --features {input.features:q} --checkpoint {input.checkpoint:q} {params.weights:q}"
        " --output {output:q} --threads {threads} --num-workers {resources.num_workers}"
        " 2>&1 | tee -i {log:q}"


rule labels:
    """Read the current labels of photographs."""
    input:
        unpack(of_run(plan.photographs_inputs)),
    output:
        "runs/{run}/labels.npz",
    log:
        "logs/{run}/labels.log",
    retries: 0  # fails because of bad input, which a retry does not change
    conda:
        "../envs/cluster.yaml"
    threads: 4
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        table=of_settings(parameters.labels_table),
        state=of_settings(parameters.labels_state),
        seen=lambda wildcards, output: plan.seen_photographs(output[0]),
        again=lambda wildcards, input: this_call.command(
            placed(f"runs/{wildcards.run}/gallery.html"), "--forcerun", "dataset"
        ),
        version=RESULT_VERSIONS["labels"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage labels --table {params.table:q} --split {input.split:q}"
        " --seen {params.seen:q} --again {params.again:q} --output {output:q}"
        " --threads {threads} 2>&1 | tee -i {log:q}"


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
        **asks(of_settings(job_resources.cluster_request)),
    params:
        grid=of_settings(parameters.cluster_flags),
        version=RESULT_VERSIONS["cluster"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage cluster --features {input.features:q} --labels {input.labels:q}"
        " --output {output.pseudo:q} --grid-table {output.grid:q} {params.grid:q}"
        " --threads {threads} 2>&1 | tee -i {log:q}"


rule thumbs:
    """Make a thumbnail of every photograph, for the gallery."""
    input:
        unpack(of_run(plan.thumbs_inputs)),
    output:
        "runs/{run}/thumbs.tsv",
    log:
        "logs/{run}/thumbs.log",
    conda:
        "../envs/cluster.yaml"
    threads: 4
    resources:
        **asks(of_settings(job_resources.reading_request)),
    params:
        version=RESULT_VERSIONS["thumbs"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage thumbs --split {input.split:q} --photographs {input.photographs:q} --output {output:q}"
        " --threads {threads} 2>&1 | tee -i {log:q}"

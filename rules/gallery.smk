"""Needs split.npz, the images and the table of their categories; makes a page of thumbnails. On
photographs it also changes the CSV file of labels, which is a param (see photos.smk).
"""


rule gallery:
    """Show the categories of a run as a page of thumbnails."""
    input:
        unpack(of_run(plan.gallery_inputs)),
    output:
        report(
            "runs/{run}/gallery.html",
            caption="../report/gallery.rst",
            category="{run}",
            labels={"result": "Gallery"},
        ),
    log:
        "logs/{run}/gallery.log",
    conda:
        "../envs/cluster.yaml"
    threads: 4
    resources:
        **asks(of_settings(job_resources.reading_request)),
    params:
        table=of_settings(parameters.table_flags),
        photographs=flags_of(photographs="--photographs", thumbs="--thumbs"),
        again=lambda wildcards, output: parameters.again_flags(
            settings_of(wildcards), this_call.command(output[0])
        ),
        next_step=lambda wildcards, input: [],  # training, after a first look
        version=RESULT_VERSIONS["gallery"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage gallery --split {input.split:q} --assignments {input.assignments:q}"
        " --features {input.features:q} {params.table:q} {params.photographs:q}"
        " {params.again:q} {params.next_step:q} --run {wildcards.run}"
        " --output {output:q} --threads {threads} 2>&1 | tee -i {log:q}"

"""Needs the table of a grid search; makes a picture of it."""


rule heatmap:
    """Draw the grid search of an epoch."""
    input:
        "runs/{run}/grid_epoch{epoch}.tsv",
    output:
        report(
            "runs/{run}/grid_epoch{epoch}.png",
            caption="../report/heatmap.rst",
            category="{run}",
            labels={"result": "Grid search, epoch {epoch}"},
        ),
    log:
        "logs/{run}/heatmap_epoch{epoch}.log",
    localrule: True  # takes a second, too little for a queue
    conda:
        "../envs/cluster.yaml"
    params:
        version=RESULT_VERSIONS["heatmap"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage heatmap --grid-table {input:q} --output {output:q}"
        " --title '{wildcards.run}, epoch {wildcards.epoch}' 2>&1 | tee -i {log:q}"

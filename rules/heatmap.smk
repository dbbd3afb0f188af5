"""Needs the table of a grid search; makes a picture of it."""


rule heatmap:
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
    localrule: True  # of a second, for which no queue is worth its wait
    conda:
        "../envs/cluster.yaml"
    resources:
        mem_mb=memory(reading_needs),
        runtime=walltime(reading_needs),
    message:
        "{wildcards.run}: picture of the grid at epoch {wildcards.epoch}"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "made {output:q} -- {input:q} -- {log:q}; "
        "stage heatmap --grid-table {input:q} --output {output:q}"
        " --title '{wildcards.run}, epoch {wildcards.epoch}' 2>&1 | tee -i {log:q}"

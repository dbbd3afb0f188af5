"""Needs only the configuration; makes the file of all settings of a run.

The file is an input of the report, so that every run with a report has one.
"""


rule settings:
    """Write all settings of a run, including inherited ones."""
    output:
        "runs/{run}/config.yaml",
    log:
        "logs/{run}/settings.log",
    localrule: True  # takes a second, too little for a queue
    conda:
        "../envs/cluster.yaml"
    params:
        settings=of_settings(parameters.result_settings),
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage settings --settings {params.settings:q} --output {output:q} 2>&1 | tee -i {log:q}"

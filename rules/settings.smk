"""Needs nothing but the configuration; makes the file of all settings that a run has.

The report takes it as an input, so that every run that is reported has one.
"""


rule settings:
    """Write the settings of a run, with all that it inherits."""
    output:
        "runs/{run}/config.yaml",
    log:
        "logs/{run}/settings.log",
    localrule: True  # of a second, for which no queue is worth its wait
    conda:
        "../envs/cluster.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=of_settings(plan.result_settings),
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage settings --settings {params.settings:q} --output {output:q} 2>&1 | tee -i {log:q}"

"""Needs the network; makes a file of pretrained weights, for runs whose weights nobody has brought.

A file `weights/{model}.safetensors` that somebody put there is an input like a photograph: no rule
makes it, so nothing (`--forceall`, `--delete-all-output`) deletes it. What the rule fetches lies
apart from it. Both are in one place for all modules that a workflow imports.
"""


rule weights:
    """Fetch pretrained weights from timm's hub."""
    output:
        local(fetched_weights("{model}")),
    log:
        "logs/weights/{model}.log",
    wildcard_constraints:
        model="[^/]+",
    localrule: True
    conda:
        "../envs/train.yaml"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage weights --model {wildcards.model:q} --output {output:q} 2>&1 | tee -i {log:q}"

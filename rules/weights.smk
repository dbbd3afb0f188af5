"""Needs the network (but for efficientnet_lite0, whose weights are installed), or a weight file of
PyTorch that a run names; makes a safetensors file of pretrained weights.

A file `weights/{model}.safetensors` that somebody put there is an input like a photograph: no rule
makes it, so nothing (`--forceall`, `--delete-all-output`) deletes it. What the rule fetches lies
apart from it. So does what the rule converts: nothing else reads files of PyTorch from elsewhere. All
are in one place for all modules that a workflow imports.
"""


rule weights:
    """Fetch pretrained weights, or convert a weight file of PyTorch."""
    input:
        file=lambda wildcards: [
            local(path)
            for path in plan.weights_inputs(
                RUNS, f"weights/{wildcards.origin}/{wildcards.model}.safetensors"
            )
        ],
    output:
        local("weights/{origin}/{model}.safetensors"),
    log:
        "logs/weights/{origin}/{model}.log",
    wildcard_constraints:
        origin="hub|converted",
        model="[^/]+",
    retries: 0  # the download itself tries again, and what is wrong with a file or a name stays wrong
    localrule: True
    conda:
        "../envs/train.yaml"
    params:
        source=lambda wildcards, input: (
            parameters.input_flags(input, {"file": "--file"}) or ["--model", wildcards.model]
        ),
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage weights {params.source:q} --output {output:q} 2>&1 | tee -i {log:q}"

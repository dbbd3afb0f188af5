"""Needs the network; makes a file of pretrained weights. Put one there by hand and it is used as it
is: that is the way where there is no network.
"""


rule weights:
    output:
        "weights/{model}.safetensors",
    log:
        "logs/weights/{model}.log",
    localrule: True
    conda:
        "../envs/train.yaml"
    message:
        "fetch the pretrained weights of {wildcards.model}"
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage weights --model {wildcards.model:q} --output {output:q} 2>&1 | tee -i {log:q}"

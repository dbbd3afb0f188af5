"""Needs split.npz and the weights of a run with `training.views: N`; makes what the frozen part of
its backbone gives for N views of each training image, and for each image without randomness.

Runs that differ only in what comes after the frozen part (labels, losses, schedule, head, seed) share
the file; the split is that of the first of them, or of the run from which an existing file was made.
A killed job resumes from what lies hidden beside its output, which is no output (the outputs of a
failed job are deleted).
"""


rule views:
    """Compute the frozen part of a backbone once, for views that training draws from."""
    input:
        split=lambda wildcards: f"runs/{stored_views.runs_of_views(VIEWS, wildcards.views)[0]}/split.npz",
        weights=weights_of,
    output:
        "views/{views}.npy",
    log:
        "logs/views/{views}.log",
    benchmark:
        "logs/views/{views}.benchmark.tsv"
    wildcard_constraints:
        views=stored_views.DIGEST,
    conda:
        "../envs/train.yaml"
    threads: 8
    resources:
        **asks(of_settings(job_resources.views_request)),
        gpu=1,
        num_workers="auto",
    params:
        settings=of_settings(parameters.views_settings),
        weights=flags_of(weights="--weights"),
        version=RESULT_VERSIONS["views"],
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; made {output:q} -- {input:q} -- {log:q}; '
        "stage views --settings {params.settings:q} --split {input.split:q} {params.weights:q}"
        " --output {output:q}"
        " --result-version {params.version} --threads {threads} --num-workers {resources.num_workers}"
        " 2>&1 | tee -i {log:q}"


rule delete_views:
    """Delete the stored views that no run of the configuration needs any more."""
    log:
        "logs/views/delete_views.log",
    localrule: True
    conda:
        "../envs/train.yaml"
    params:
        paths=lambda wildcards: stored_views.unneeded_views(VIEWS, RUNS, placed),
    shell:
        '. "$GCDFLOW_SCRIPTS"/stage.sh; '
        "stage delete_views {params.paths:q} 2>&1 | tee -i {log:q}"

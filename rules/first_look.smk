"""For runs that start from pretrained weights: their categories before any training. The rules are those
of the end of a run (rules/photos.smk, assign.smk and gallery.smk), with the features of epoch 0.
"""


use rule cluster_final as cluster_first_look with:
    input:
        unpack(of_run(plan.cluster_final_inputs, look=True)),
    output:
        pseudo="runs/{run}/pseudo_first_look.npz",
        grid="runs/{run}/grid_first_look.tsv",
    log:
        "logs/{run}/cluster_first_look.log",
    benchmark:
        "logs/{run}/cluster_first_look.benchmark.tsv"


use rule added as added_first_look with:
    input:
        unpack(of_run(plan.added_inputs, look=True)),
        weights=weights_of,
    output:
        update("runs/{run}/features_added_first_look.npz"),
    log:
        "logs/{run}/added_first_look.log",
    params:
        version=parameters.updating(
            RESULT_VERSIONS["added"], "runs/{run}/features_added_first_look.npz", placed
        ),


use rule assign as assign_first_look with:
    input:
        unpack(of_run(plan.assign_inputs, look=True)),
    output:
        "runs/{run}/first_look.csv",
    log:
        "logs/{run}/assign_first_look.log",


use rule gallery as first_look with:
    input:
        unpack(of_run(plan.gallery_inputs, look=True)),
    output:
        "runs/{run}/first_look.html",
    log:
        "logs/{run}/first_look.log",
    params:
        next_step=lambda wildcards, input: parameters.next_step_flags(
            settings_of(wildcards),
            this_call.command(
                placed(f"runs/{wildcards.run}/gallery.html"),
                *parameters.afresh(settings_of(wildcards)),
            ),
            placed(f"logs/{wildcards.run}"),
        ),

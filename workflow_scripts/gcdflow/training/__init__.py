"""One segment of training, its checkpoints, and the features that a checkpoint gives.

May import: clustering, losses, models, data, distributed, files, config, errors.
"""

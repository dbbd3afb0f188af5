"""One segment of training, its checkpoints, and the features that a checkpoint gives."""

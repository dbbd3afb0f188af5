"""From files of images to batches of views: datasets, sampling, augmentation, loading.

May import: distributed, files, config, errors.
"""

"""Datasets, sampling, augmentation and loading: they turn image files into batches of views."""

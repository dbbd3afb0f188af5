"""Backbones, the projection head, and the model that they make.

May import: data, files, config, errors.
"""

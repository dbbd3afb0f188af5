"""Losses and pseudo-label weights, one small module each.

May import: errors. Nothing is imported here, so ``gcdflow.losses.weights`` needs no PyTorch.
"""

"""Losses and pseudo-label weights, one small module each.

May import: errors. This file imports nothing, so ``gcdflow.losses.weights`` needs no PyTorch.
"""

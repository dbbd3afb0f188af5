"""Losses, pseudo-label weights and schedules, one small module each.

Nothing is imported here, so ``gcdflow.losses.weights`` and ``gcdflow.losses.schedule`` stay usable
without PyTorch.
"""

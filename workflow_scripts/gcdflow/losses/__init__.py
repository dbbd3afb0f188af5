"""Losses and pseudo-label weights, one small module each."""

"""Pseudo-label guided contrastive learning for generalized category discovery (GCD)."""

__version__ = "0.1.0"

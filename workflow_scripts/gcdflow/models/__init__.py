"""Backbones, the projection head, and the model that they make."""

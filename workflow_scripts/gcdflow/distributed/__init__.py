"""Processes that train together: they start, connect, share steps and end on signals."""

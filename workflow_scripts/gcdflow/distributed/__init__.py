"""Processes that train together: start, meet, share a step, end on signals.

May import: files, errors.
"""

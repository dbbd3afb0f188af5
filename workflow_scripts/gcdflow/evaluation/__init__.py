"""Accuracy against the truth, and tables and curves of runs.

May import: clustering, files, errors.
"""

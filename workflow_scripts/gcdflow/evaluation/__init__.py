"""Accuracy against the truth, and the tables of runs.

May import: clustering, files, errors.
"""

"""Accuracy against the truth, and tables and curves of runs."""

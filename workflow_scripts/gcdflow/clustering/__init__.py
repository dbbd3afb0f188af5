"""The clustering stage: SSDDBC on a feature cache, and how to compare and apply clusterings.

May import: ssddbc, files, errors.
"""

"""Writing, reading, checking and locking of the files of all stages.

May import: errors.
"""

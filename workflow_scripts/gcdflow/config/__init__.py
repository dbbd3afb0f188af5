"""Settings of runs and sweeps: models, defaults, and the YAML files that hold them.

May import: errors.
"""

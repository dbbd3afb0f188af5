"""Settings of runs and sweeps: models, defaults and YAML files."""

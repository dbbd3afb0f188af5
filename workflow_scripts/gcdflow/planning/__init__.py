"""What the rules ask before anything runs: epochs, inputs, flags and resources of jobs.

May import: all packages, but no module that needs PyTorch, NumPy or scikit-learn.
"""

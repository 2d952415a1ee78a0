"""The figures this project promises: `python -m tabnas.bench NAME… [--json]`.

Speeds are ratios of two things timed in turn within one run, so that a machine whose speed drifts does not matter.
"""

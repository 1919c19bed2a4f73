"""Benchmarks: the original Emperor and ours side by side, in one run. ``python -m bench``."""

"""Benchmarks: whole processes on this machine, interleaved, as ratios. `python -m bench --help`."""

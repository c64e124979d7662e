"""Benchmarks against named peers, paired in one run: `make bench-converter`."""

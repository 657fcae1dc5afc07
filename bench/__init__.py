"""Benchmarks: figures beside what a user would otherwise have, in one run on the same machine."""

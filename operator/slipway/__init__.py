"""Slipway: a Kubernetes operator that takes a model from data to traffic.

Kept free of imports: the trainer and the server images carry this package for ``slipway.contract`` alone.
"""

__version__ = "0.1.0"

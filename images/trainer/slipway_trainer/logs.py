"""The log of our own programs: one line a step, in UTC; what the training code prints comes line by line too."""

from __future__ import annotations

import logging
import sys
import time


def log_to_stdout(package: str = "slipway_trainer") -> None:
    """Set up the logger of a package of ours. The root logger is left alone: it is the training code's to set up."""
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    own = logging.getLogger(package)
    own.setLevel(logging.INFO)
    own.addHandler(handler)
    own.propagate = False
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIOWrapper outside of tests

"""One look at a data set in a process of its own, as its pod takes it: ``python -m bench.data.look SPEC SCRATCH OUT``.

The pod's program itself has its paths from the contract, which lie where only a pod may write.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from slipway.contract import DatasetSpec, loads
from slipway_dataset.runner import Look, Surroundings
from slipway_trainer.progress import ProgressBoard
from slipway_trainer.report import Outcome
from slipway_trainer.store import S3Store, place_from_env


def main() -> int:
    """Exit status of the look; OUT has the termination message."""
    spec, scratch, out = sys.argv[1:]
    place = place_from_env("default", dict(os.environ))
    outside = Surroundings(Path(scratch), lambda _: (place, S3Store(place)), f"bench-{os.getpid()}")
    return Look(loads(DatasetSpec, spec), outside, ProgressBoard(), Outcome(Path(out))).run()


if __name__ == "__main__":
    sys.exit(main())

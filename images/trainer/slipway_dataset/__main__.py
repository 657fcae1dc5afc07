"""The dataset pod's program: ``python3 -m slipway_dataset`` reads what is asked, and leaves with a status."""

from __future__ import annotations

import os
import sys

from slipway.contract import ContractError, DatasetSpec, Env, StoreKeys, loads, store_env
from slipway_trainer import failures
from slipway_trainer.failures import TrainerError
from slipway_trainer.logs import log_to_stdout
from slipway_trainer.paths import Paths
from slipway_trainer.report import Outcome


def main() -> int:
    """One look at the data set that the environment describes; returns the exit status."""
    for package in ("slipway_dataset", "slipway_trainer"):
        log_to_stdout(package)
    paths = Paths()
    env = dict(os.environ)
    secret = store_env("", StoreKeys.SECRET_KEY).removeprefix("SLIPWAY_STORE_")
    outcome = Outcome(paths.termination, [value for name, value in env.items() if name.endswith(secret)])
    try:
        spec = loads(DatasetSpec, env.get(Env.SPEC, ""))
    except ContractError as error:
        return outcome.fail(
            TrainerError(
                failures.SPEC_INVALID,
                f"the dataset program cannot read what the operator asks ({error}): use a trainer image of the same "
                f"version",
            )
        )
    from . import pod

    try:
        return pod.run(spec, paths, env, outcome)
    except OSError as error:
        return outcome.fail(
            TrainerError(failures.INTERNAL, f"the dataset program could not start its endpoint ({error}): report it")
        )


if __name__ == "__main__":
    sys.exit(main())

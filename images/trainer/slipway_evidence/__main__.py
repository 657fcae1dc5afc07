"""The signing pod's program: ``python3 -m slipway_evidence`` reads what is asked, and leaves with a status."""

from __future__ import annotations

import os
import sys
import traceback

from slipway.contract import ContractError, Env, EvidenceSpec, StoreKeys, loads, store_env
from slipway_trainer import failures
from slipway_trainer.failures import TrainerError
from slipway_trainer.paths import Paths
from slipway_trainer.report import Outcome
from slipway_trainer.store import S3Store, place_from_env


def main() -> int:
    """Sign or check what the environment describes; returns the exit status."""
    env = dict(os.environ)
    private = os.environ.pop(Env.SIGNING_KEY, None)
    secret = store_env("", StoreKeys.SECRET_KEY).removeprefix("SLIPWAY_STORE_")
    secrets = [value for name, value in env.items() if name.endswith(secret) or name == Env.SIGNING_KEY]
    outcome = Outcome(Paths().termination, secrets)
    try:
        spec = loads(EvidenceSpec, env.get(Env.SPEC, ""))
        from . import runner

        return outcome.succeed(runner.run(spec, private, S3Store(place_from_env(spec.artifact.store, env))))
    except ContractError as error:
        return outcome.fail(
            TrainerError(
                failures.SPEC_INVALID,
                f"the signing program cannot read what the operator asks ({error}): use a trainer image of the same "
                f"version",
            )
        )
    except TrainerError as error:
        return outcome.fail(error)
    except Exception as error:
        traceback.print_exception(error)
        return outcome.fail(
            TrainerError(failures.INTERNAL, f"the signing program itself failed ({type(error).__name__}): report it")
        )


if __name__ == "__main__":
    sys.exit(main())

"""The trainer pod's program: reads what is asked, starts itself again with the seed set, and leaves with a status.

What takes long to load (the S3 client) is imported after that second start, so that it is loaded once.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from slipway.contract import ContractError, Env, StoreKeys, TrainSpec, loads, store_env

from . import failures, seeds
from .failures import TrainerError
from .logs import log_to_stdout
from .paths import Paths
from .report import Outcome

_STORE_VARIABLES = "SLIPWAY_STORE_"
_LISTENER_VARIABLES = "SLIPWAY_OPENLINEAGE_"
LINGER = 30.0
"""Seconds that threads and exit handlers of the training code get once the result is written."""


def main() -> int:
    """One attempt at the run that the environment describes; returns the exit status."""
    log_to_stdout()
    paths = Paths()
    env = dict(os.environ)
    secret = store_env("", StoreKeys.SECRET_KEY).removeprefix(_STORE_VARIABLES)
    secrets = [value for name, value in env.items() if name.endswith(secret) or name == Env.OPENLINEAGE_TOKEN]
    outcome = Outcome(paths.termination, secrets)
    try:
        spec = loads(TrainSpec, env.get(Env.SPEC, ""))
    except ContractError as error:
        return outcome.fail(
            TrainerError(
                failures.SPEC_INVALID,
                f"the trainer cannot read what the operator asks ({error}): use a trainer image of the same version",
            )
        )
    threads = seeds.thread_count(spec.threads, env)
    seeds.restart_with(seeds.process_environment(spec.seed, threads, env))
    for name in [name for name in os.environ if name.startswith((_STORE_VARIABLES, _LISTENER_VARIABLES))]:
        del os.environ[name]  # the training code has no use for the credentials, and may print its environment

    from . import pod

    try:
        return pod.run(spec, paths, env, threads, outcome)
    except OSError as error:
        return outcome.fail(
            TrainerError(failures.INTERNAL, f"the trainer could not start its endpoints ({error}): report it")
        )


def _leave(exit_code: int) -> None:
    """Exit, even if the training code left threads that never end."""

    def force() -> None:
        time.sleep(LINGER)
        os._exit(exit_code)

    threading.Thread(target=force, daemon=True).start()
    sys.exit(exit_code)


if __name__ == "__main__":
    _leave(main())

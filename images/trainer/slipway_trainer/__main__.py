"""Wiring of the trainer pod: environment, endpoints, the attempt, the exit status."""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import time

from slipway.contract import PROGRESS_PORT, ContractError, Env, StoreKeys, TrainSpec, loads, store_env

from . import failures, seeds, with_torch
from .failures import TrainerError
from .interrupt import on_sigterm
from .kubeflow import serve_kubeflow
from .progress import ProgressBoard
from .report import Outcome
from .runner import Attempt, Paths, Surroundings
from .status_server import serve_progress
from .store import Place, S3Store, Store, place_from_env

_STORE_VARIABLES = "SLIPWAY_STORE_"
LINGER = 30.0
"""Seconds that threads and exit handlers of the training code get once the result is written."""


def main() -> int:
    _log_to_stdout()
    paths = Paths()
    env = dict(os.environ)
    secret_suffix = store_env("", StoreKeys.SECRET_KEY).removeprefix(_STORE_VARIABLES)
    outcome = Outcome(paths.termination, [value for name, value in env.items() if name.endswith(secret_suffix)])
    try:
        spec = loads(TrainSpec, env.get(Env.SPEC, ""))
    except ContractError as error:
        return outcome.fail(
            TrainerError(
                failures.SPEC_INVALID,
                f"the trainer cannot read what the operator asks ({error}): use a trainer image of the same version",
            )
        )
    threads = seeds.cpu_limit()
    seeds.restart_with(seeds.process_environment(spec.seed, threads, env))
    for name in [name for name in os.environ if name.startswith(_STORE_VARIABLES)]:
        del os.environ[name]  # the training code has no use for the credentials, and may print its environment

    board = ProgressBoard()
    serve_progress(board, PROGRESS_PORT)

    @functools.cache
    def open_place(name: str) -> tuple[Place, Store]:
        place = place_from_env(name, env)
        return place, S3Store(place)

    outside = Surroundings(
        paths=paths,
        env=dict(os.environ),
        kubeflow=serve_kubeflow(board, spec, paths.work),
        open_place=open_place,
        export=with_torch.export,
        codec=with_torch.TorchCodec(),
        device=with_torch.device,
        threads=threads,
    )
    attempt = Attempt(spec, outside, board, outcome)
    on_sigterm(attempt.stop)
    return attempt.run()


def _log_to_stdout() -> None:
    """One line a step, in UTC; what the training code prints comes line by line too."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%SZ",
    )
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIOWrapper outside of tests


def _leave(exit_code: int) -> None:
    """Exit, even if the training code left threads that never end."""

    def force() -> None:
        time.sleep(LINGER)
        os._exit(exit_code)

    threading.Thread(target=force, daemon=True).start()
    sys.exit(exit_code)


if __name__ == "__main__":
    _leave(main())

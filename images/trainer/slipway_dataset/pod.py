"""Wiring of the dataset pod: its endpoint, its S3 places, the look, and what a signal does."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping

from slipway.contract import PROGRESS_PORT, DatasetSpec, Env
from slipway_trainer.interrupt import on_sigterm
from slipway_trainer.paths import Paths
from slipway_trainer.progress import ProgressBoard
from slipway_trainer.report import Outcome
from slipway_trainer.status_server import serve_progress
from slipway_trainer.store import Place, S3Store, Store, place_from_env

from .runner import Look, Surroundings


def run(spec: DatasetSpec, paths: Paths, env: Mapping[str, str], outcome: Outcome) -> int:
    """Carry out one look; returns the exit status. ``env`` is that of the pod, with the S3 places' keys."""
    board = ProgressBoard()
    serve_progress(board, PROGRESS_PORT)

    @functools.cache
    def open_place(name: str) -> tuple[Place, Store]:
        place = place_from_env(name, env)
        return place, S3Store(place)

    # A container that starts again in the same pod is another try.
    attempt = f"{env.get(Env.ATTEMPT_UID, 'local')[:8]}-{time.time_ns():x}"
    look = Look(spec, Surroundings(paths.work, open_place, attempt), board, outcome)
    on_sigterm(look.stop)
    return look.run()

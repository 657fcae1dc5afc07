"""Wiring of the trainer pod: its endpoints, its S3 places, the attempt, and what a signal does."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

from slipway.contract import PROGRESS_PORT, Env, TrainSpec

from . import with_torch
from .interrupt import on_sigterm
from .kubeflow import serve_kubeflow
from .openlineage import Ear, Endpoint, File, Listener, Nobody, Teller
from .paths import Paths
from .progress import ProgressBoard
from .report import Outcome
from .runner import Attempt, Surroundings
from .status_server import serve_progress
from .store import OpenPlace, Place, S3Store, Store, place_from_env


def run(spec: TrainSpec, paths: Paths, env: Mapping[str, str], threads: int, outcome: Outcome) -> int:
    """Carry out one attempt; returns the exit status. ``env`` is that of the pod, with the S3 places' keys."""
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
        listener=_listener(spec, env, open_place),
    )
    attempt = Attempt(spec, outside, board, outcome)
    on_sigterm(attempt.stop)
    return attempt.run()


def _listener(spec: TrainSpec, env: Mapping[str, str], open_place: OpenPlace) -> Listener:
    ears: list[Ear] = []
    if url := env.get(Env.OPENLINEAGE_URL):
        ears.append(Endpoint(url, env.get(Env.OPENLINEAGE_TOKEN)))
    if env.get(Env.OPENLINEAGE_FILE):
        ears.append(File(spec, open_place))
    return Teller(spec, ears) if ears else Nobody()

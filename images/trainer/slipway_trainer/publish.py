"""Writes a run's result to the store, the result document last, and finds it again."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from slipway.contract import (
    PACKAGES_FILE,
    WEIGHTS_FILE,
    Artifact,
    CodeResult,
    ContractError,
    DataResult,
    GitSpec,
    Metric,
    Reproduction,
    TrainResult,
    TrainSpec,
    WeightsResult,
    dumps,
    loads,
)

from .environment import describe, packages
from .manifest import file_digest
from .progress import ProgressBoard, as_number, number_text
from .report import fit
from .store import ObjectMissingError, Place, Store
from .trained import Trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """Where one run's files lie. The run's uid is part of it, so no other run ever writes there.

    ``<prefix>/<model>/runs/<uid>/`` holds ``attempt.json`` (who tries now), ``code.json`` (the commit of all attempts),
    ``checkpoints/``, ``model.onnx``, ``model.safetensors``, ``packages.txt``, ``openlineage.ndjson`` (where the
    installation asks for it) and, from the moment the run is done, ``result.json``.
    """

    place: Place
    model: str
    run_uid: str

    def key(self, name: str) -> str:
        return self.place.key(self.model, "runs", self.run_uid, name)

    def uri(self, name: str) -> str:
        return self.place.uri(self.key(name))


def find(store: Store, folder: RunFolder) -> TrainResult | None:
    """The result of an earlier attempt at this very run, or None."""
    try:
        raw = b"".join(store.read(folder.place.bucket, folder.key("result.json")))
        return loads(TrainResult, raw)
    except ObjectMissingError:
        return None
    except ContractError as error:
        log.warning("result.json cannot be read, training again problem=%s", error)
        return None


def pin_commit(store: Store, folder: RunFolder, code: GitSpec, commit: str) -> None:
    """Say which commit the run takes, once for all its attempts."""
    facts = {"v": 1, "url": code.url, "revision": code.revision, "commit": commit}
    store.write(folder.place.bucket, folder.key("code.json"), json.dumps(facts, sort_keys=True).encode())


def pinned_commit(store: Store, folder: RunFolder) -> str | None:
    """The commit that an earlier attempt took; None where there was none."""
    try:
        return str(json.loads(b"".join(store.read(folder.place.bucket, folder.key("code.json"))))["commit"])
    except ObjectMissingError:
        return None


def mark(store: Store, folder: RunFolder, spec: TrainSpec, attempt: str, started_at: str) -> None:
    """Say that an attempt began. A place that cannot be written to is found out here, not after hours of training."""
    facts = {"v": 1, "namespace": spec.namespace, "run": spec.run, "pod": attempt, "startedAt": started_at}
    store.write(folder.place.bucket, folder.key("attempt.json"), json.dumps(facts, sort_keys=True).encode())


def publish(
    store: Store,
    folder: RunFolder,
    trained: Trained,
    *,
    board: ProgressBoard,
    data: list[DataResult],
    code_digest: str | None,
    commit: str | None,
    started_at: str,
    finished_at: str,
    threads: int = 1,
    reproduction: Reproduction | None = None,
) -> TrainResult:
    """Upload everything, ``result.json`` last: from then on the run is done, whatever becomes of this pod.

    Raises:
        TrainerError: the store fails, or the result would not fit the termination message.
    """
    bucket = folder.place.bucket
    listed = packages()
    result = TrainResult(
        artifact=_artifact(folder, trained.model, "model.onnx"),
        signature=trained.signature,
        metrics=[_metric(name, value, board) for name, value in trained.metrics.items()],
        data=data,
        environment=describe(listed, threads),
        result=folder.uri("result.json"),
        startedAt=started_at,
        finishedAt=finished_at,
        parity=trained.parity,
        codeDigest=code_digest,
        code=CodeResult(commit) if commit else None,
        weights=WeightsResult(file_digest(trained.weights), trained.weights.stat().st_size)
        if trained.weights
        else None,
        reproduction=reproduction,
    )
    fit(result)  # before anything is stored: a result that cannot be passed on must not count as finished
    store.write(bucket, folder.key("model.onnx"), trained.model)
    if trained.weights is not None:
        store.write(bucket, folder.key(WEIGHTS_FILE), trained.weights)
    store.write(bucket, folder.key(PACKAGES_FILE), listed)
    document = json.dumps(json.loads(dumps(result)), indent=1, sort_keys=True, ensure_ascii=False)
    store.write(bucket, folder.key("result.json"), document.encode())
    return result


def _artifact(folder: RunFolder, path: Path, name: str) -> Artifact:
    return Artifact(folder.uri(name), file_digest(path), path.stat().st_size, folder.place.name)


def _metric(name: str, value: float, board: ProgressBoard) -> Metric:
    number = as_number(name, value)
    return Metric(name, number_text(number), number_text(board.best(name, number)))

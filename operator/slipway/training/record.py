"""From what the trainer says at the end to what a ModelVersion says for ever. Pure.

What the pod says is a user's program's word: it is checked against the types of the API here, so that nothing is
written which the API server would refuse again and again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import ValidationError

from slipway import contract, jobfacts, podfacts
from slipway.api.common import DIGEST, S3_FILE
from slipway.api.model_version import (
    COMMIT,
    CREATED_BY_ANNOTATION,
    LINEAGE_ANNOTATION,
    Approval,
    Artifact,
    CodeConfigMap,
    CodeGit,
    CodeLineage,
    DataLineage,
    EnvironmentLineage,
    ImageLineage,
    Lineage,
    ModelSignature,
    ModelVersionSpec,
    ParentLineage,
    ParityLineage,
    RunLineage,
    WeightsLineage,
)
from slipway.api.training_run import Code, DataPin, GitCode, MetricStatus, ParentPin, Progress, TrainingRunSpec
from slipway.kube.objects import Manifest
from slipway.training.children import CONTAINER

METRICS: Final = 64
"""Metrics in a status."""
_INT32: Final = 2**31 - 1


class Unusable(ValueError):
    """The result cannot become a ModelVersion; the message is a sentence."""


@dataclass(frozen=True)
class Ended:
    """A pod that ended well, and its word."""

    pod: Manifest
    result: contract.TrainResult


def find(pods: Iterable[Manifest]) -> Ended | None:
    """The first pod that ended well and left a result that can be read."""
    found = jobfacts.result(contract.TrainResult, pods, CONTAINER)
    return Ended(found[1], found[0]) if found else None


def unreadable(pods: Iterable[Manifest]) -> str:
    """Why there is no result though the Job is complete, for a sentence."""
    for pod in pods:
        end = podfacts.terminated(pod, CONTAINER)
        if end.get("exitCode") == contract.EXIT_OK:
            try:
                contract.loads(contract.TrainResult, str(end.get("message", "")))
            except contract.ContractError as error:
                return f"the pod {pod['metadata']['name']} left a result that cannot be read ({error})"
    return "the pod that ended well is gone"


def version_spec(
    run: Manifest, spec: TrainingRunSpec, result: contract.TrainResult, number: int, *, waits: bool
) -> ModelVersionSpec:
    """The spec of the version.

    Args:
        waits: whether somebody has to agree to it.

    Raises:
        Unusable: the result names something that no ModelVersion may hold.
    """
    try:
        signature = ModelSignature.model_validate(asdict(result.signature))
        for side in (signature.inputs, signature.outputs):
            _unique("tensor", [t.name for t in side])
            for tensor in side:
                if not tensor.shape or not all(size == -1 or 0 < size <= _INT32 for size in tensor.shape):
                    raise Unusable(
                        f"the tensor {tensor.name!r} has the shape {tensor.shape}: each size is -1 or above 0"
                    )
        artifact = Artifact.model_validate(asdict(result.artifact))
        if fault := artifact.fault():
            raise Unusable(fault)
        return ModelVersionSpec(
            model=spec.model,
            version=number,
            artifact=artifact,
            signature=signature,
            training_run=run["metadata"]["name"],
            approval=Approval(required=True) if waits else None,
        )
    except ValidationError as error:
        raise Unusable(_first(error)) from None


def lineage(
    run: Manifest,
    spec: TrainingRunSpec,
    image: str,
    ended: Ended,
    attempts: int,
    pins: Sequence[DataPin] = (),
    parent: ParentPin | None = None,
) -> Lineage:
    """Where the version comes from (design: lineage).

    Args:
        image: the reference that the pod was given; its digest is taken from what the kubelet reported.
        pins: the versions of the Datasets that the run names.
        parent: the weights that it began with, if it did.

    Raises:
        Unusable: the result says something that no status may hold.
    """
    meta, result = run["metadata"], ended.result
    stores, code = {d.name: d.store for d in spec.data}, spec.code or Code()
    shown = metrics(result.metrics)
    left_out = result.metricsCut + len(result.metrics) - len(shown)
    try:
        made = Lineage(
            origin="Trained",
            training_run=RunLineage(
                name=meta["name"],
                uid=meta["uid"],
                created_by=meta.get("annotations", {}).get(CREATED_BY_ANNOTATION),
                started_at=result.startedAt,
                finished_at=result.finishedAt,
                attempts=attempts,
            ),
            code=CodeLineage(
                config_map=CodeConfigMap(name=code.config_map, digest=result.codeDigest) if code.config_map else None,
                git=_git(code.git, result) if code.git else None,
                image=ImageLineage(
                    ref=image,
                    digest=podfacts.image_digest(ended.pod, CONTAINER),
                    pinned=podfacts.image_pinned(ended.pod, CONTAINER),
                ),
                entrypoint=spec.entrypoint,
                command=spec.command,
            ),
            data=[_data(d, stores.get(d.name, "default"), pins) for d in result.data],
            parameters=spec.parameters,
            seed=spec.seed,
            environment=_environment(result),
            metrics=shown,
            metrics_cut=left_out or None,
            artifact=Artifact.model_validate(asdict(result.artifact)),
            parity=ParityLineage.model_validate(asdict(result.parity)) if result.parity else None,
            parent=ParentLineage(model_version=parent.model_version, digest=parent.digest) if parent else None,
            ancestry=parent.ancestry if parent else None,
            weights=_weights(result),
            result=result.result,
        )
        _unique("data set", [d.name for d in made.data])
    except ValidationError as error:
        raise Unusable(_first(error)) from None
    return made


def made_by(version: Manifest) -> str | None:
    """The uid of the run that made a version, by its lineage: a label is anybody's to write. None where no run of this
    namespace did."""
    said = _recorded(version)
    if not isinstance(said, dict) or said.get("origin", "Trained") != "Trained":
        return None
    run = said.get("trainingRun")
    uid = run.get("uid") if isinstance(run, dict) else None
    return uid if isinstance(uid, str) else None


def told(version: Manifest) -> Lineage | None:
    """The lineage of a version that a run made; None where nobody can read it."""
    try:
        return Lineage.model_validate(_recorded(version))
    except ValidationError:
        return None


def _recorded(version: Manifest) -> Any:
    """In the status; in the annotation as long as the registry has not copied it."""
    if found := (version.get("status") or {}).get("lineage"):
        return found
    try:
        return json.loads(version["metadata"].get("annotations", {}).get(LINEAGE_ANNOTATION, "null"))
    except ValueError:
        return None


def _environment(result: contract.TrainResult) -> EnvironmentLineage:
    said = EnvironmentLineage.model_validate(asdict(result.environment))
    listed = contract.beside(result.result, contract.PACKAGES_FILE) if said.packages else None
    return said.model_copy(update={"packages_uri": listed})


def _weights(result: contract.TrainResult) -> WeightsLineage | None:
    if result.weights is None:
        return None
    uri = contract.beside(result.result, contract.WEIGHTS_FILE)
    if not re.match(S3_FILE, uri) or not re.match(DIGEST, result.weights.digest) or result.weights.size < 1:
        raise Unusable(f"the weights at {uri[:200]!r} with the digest {result.weights.digest!r} are no file of S3")
    return WeightsLineage(uri=uri, digest=result.weights.digest, size=result.weights.size, store=result.artifact.store)


def _git(asked: GitCode, result: contract.TrainResult) -> CodeGit:
    if result.code is None or not re.match(COMMIT, result.code.commit):
        raise Unusable("it does not name the commit that trained: build the image on Slipway's trainer of this release")
    return CodeGit(url=asked.url, revision=asked.revision, commit=result.code.commit, path=asked.path)


def metrics(reported: Iterable[contract.Metric]) -> list[MetricStatus]:
    """Metrics as a status may hold them: each name once (the last word counts), none too long, not too many."""
    made: dict[str, MetricStatus] = {}
    for metric in reported:
        try:
            made[metric.name] = MetricStatus(name=metric.name, value=metric.value, best=metric.best)
        except ValidationError:
            continue
    return list(made.values())[:METRICS]


def progress(said: contract.Progress) -> Progress:
    """Progress as a status may hold it.

    >>> progress(contract.Progress(step=8, of=20)).percent
    40
    """
    step, of = (min(max(number, 0), _INT32) for number in (said.step, said.of))
    percent = min(100, step * 100 // of) if of else 0
    return Progress(percent=percent, step=step, of=of, message=said.message[:256] or None)


def _data(read: contract.DataResult, store: str, pins: Sequence[DataPin]) -> DataLineage:
    made = DataLineage.model_validate({**asdict(read), "store": store})
    pin = next((p for p in pins if p.name == read.name), None)
    if pin is None:
        return made
    if pin.version != read.digest:
        raise Unusable(
            f"the data set {read.name!r} was read with the digest {read.digest}, but the run was to take the version "
            f"{pin.version} of the Dataset {pin.dataset}"
        )
    return made.model_copy(
        update={"store": pin.store, "dataset": pin.dataset, "version": pin.version, "profile": pin.profile}
    )


def _unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Unusable(f"the {what} {twice[0]!r} is named twice")


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"

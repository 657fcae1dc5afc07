"""The objects that a TrainingRun makes: a Job, and a ModelVersion. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from slipway import contract, pods
from slipway.api import wayback
from slipway.api.common import API_VERSION, GROUP
from slipway.api.model_version import (
    CREATED_BY_ANNOTATION,
    LINEAGE_ANNOTATION,
    Lineage,
    ModelVersionSpec,
    ModelVersionStatus,
)
from slipway.api.training_run import Code, DataPin, GitCode, ParentPin, TrainingRunSpec
from slipway.kube.drift import quantity
from slipway.kube.objects import JOBS, MODEL_VERSIONS, Manifest
from slipway.training import data

CONTAINER: Final = "trainer"
ROLE: Final = "train"
COMMAND: Final = ("python3", "-m", "slipway_trainer")
"""Said in the Job and not left to the image: an image that a user builds on ours may have another entrypoint."""
CODE_CONTAINER: Final = "code"
"""The init container that fetches code by git: the credentials are its alone, so that no training code ever sees them.
It is always of our own image, for the same reason (docs/design/0013)."""
CODE_COMMAND: Final = ("python3", "-m", "slipway_trainer.checkout")
ATTEMPTS_ANNOTATION: Final = f"{GROUP}/attempts-before"
"""On a Job: attempts that earlier Jobs of the run made."""
REREAD_ANNOTATION: Final = f"{GROUP}/reread"
"""On a Job: which re-read of the result it is; 0 is the training itself."""
OPENLINEAGE_SECRET: Final = "slipway-openlineage"  # noqa: S105 - a name, not a secret
"""A Secret of this name in a namespace holds, as ``token``, what the OpenLineage endpoint asks of its pods."""
SPEC_LIMIT: Final = 100 * 1024
"""Bytes of the ``TrainSpec``: Linux takes at most 128 KiB in one environment variable (``MAX_ARG_STRLEN``)."""


@dataclass(frozen=True)
class Defaults:
    """What the operator's settings give to every training pod."""

    trainer_image: str
    image_pull_policy: str = "IfNotPresent"
    scratch_size: str = "20Gi"
    """Room for data, checkpoints and output on the node."""
    openlineage_url: str = ""
    """Where the pod tells OpenLineage events; empty: nowhere."""
    openlineage_file: bool = False
    """Whether the pod writes them beside the run's result."""


def train_spec(
    run: Manifest,
    spec: TrainingRunSpec,
    original: Manifest | None = None,
    pins: Sequence[DataPin] = (),
    parent: ParentPin | None = None,
) -> contract.TrainSpec:
    """What the trainer is asked to do.

    Args:
        original: the version that it makes once more, if it does.
        pins: the versions of the Datasets that the run names.
        parent: the weights that it begins with, if it does.
    """
    meta, code = run["metadata"], spec.code or Code()
    return contract.TrainSpec(
        namespace=meta["namespace"],
        run=meta["name"],
        runUid=meta["uid"],
        model=spec.model,
        entrypoint=spec.entrypoint,
        command=list(spec.command) if spec.command else None,
        codeConfigMap=code.config_map,
        codeGit=contract.GitSpec(**code.git.model_dump()) if code.git else None,
        parent=contract.ParentSpec(
            parent.model_version, contract.Artifact(parent.uri, parent.digest, parent.size, parent.store)
        )
        if parent
        else None,
        data=[
            _pinned(pin, places(spec, original, pins, parent))
            if pin
            else contract.DataSpec(name=d.name, uri=d.uri or "", store=d.store, digest=d.digest)
            for d, pin in data.resolved(spec, pins)
        ],
        parameters=dict(spec.parameters),
        seed=spec.seed,
        outputStore=spec.output.store,
        threads=threads(spec.resources.cpu),
        reproduce=_compared(spec, original),
    )


def threads(cpu: str) -> int:
    """How many threads the training computes with: the CPUs that it asks for, rounded up.

    Said to the pod, because nothing in it shows it: CPU is a request, so the container sees every core of its node, and
    the same run would give other bytes on a larger one.

    >>> threads("500m"), threads("2"), threads("2500m"), threads("1e1")
    (1, 2, 3, 10)
    """
    amount = quantity(cpu)
    return max(1, math.ceil(amount)) if isinstance(amount, Decimal) else 1


def _listener(defaults: Defaults) -> list[dict[str, Any]]:
    """Variables that say where the pod tells OpenLineage events."""
    to_file = [pods.env_var(contract.Env.OPENLINEAGE_FILE, "true")] if defaults.openlineage_file else []
    if not defaults.openlineage_url:
        return to_file
    token = {"name": OPENLINEAGE_SECRET, "key": "token", "optional": True}
    return [
        *to_file,
        pods.env_var(contract.Env.OPENLINEAGE_URL, defaults.openlineage_url),
        {"name": contract.Env.OPENLINEAGE_TOKEN, "valueFrom": {"secretKeyRef": token}},
    ]


def _compared(spec: TrainingRunSpec, original: Manifest | None) -> contract.ReproduceSpec | None:
    """What the pod is to compare its result with; None where there is nothing to compare with."""
    if spec.reproduce_of is None or original is None:
        return None
    registered = ModelVersionSpec.model_validate(original["spec"])
    measured = ModelVersionStatus.model_validate(original.get("status") or {}).lineage
    artifact, tolerance = registered.artifact, spec.reproduce_of.tolerance
    return contract.ReproduceSpec(
        modelVersion=original["metadata"]["name"],
        uid=original["metadata"]["uid"],
        artifact=contract.Artifact(artifact.uri, artifact.digest, artifact.size, artifact.store),
        metrics=[contract.Metric(m.name, m.value) for m in (measured.metrics if measured else [])],
        metricsCut=(measured.metrics_cut or 0) if measured else 0,
        absolute=tolerance.absolute,
        relative=tolerance.relative,
    )


def _pinned(pin: DataPin, given: Sequence[str]) -> contract.DataSpec:
    """A version of a Dataset, for the pod. Its manifest is named only where the pod has the place that it lies in: it
    makes a refusal clearer, and no run should need one more place for that."""
    place = pin.output_store if pin.output_store in given else None
    return contract.DataSpec(
        name=pin.name,
        uri=pin.uri,
        store=pin.store,
        digest=pin.version,
        dataset=pin.dataset,
        manifest=pin.manifest if place else None,
        manifestStore=place or pin.store,
    )


def places(
    spec: TrainingRunSpec,
    original: Manifest | None = None,
    pins: Sequence[DataPin] = (),
    parent: ParentPin | None = None,
) -> list[str]:
    """The S3 places that the pod needs, each once."""
    read = [pin.store if pin else d.store for d, pin in data.resolved(spec, pins)]
    compared = [original["spec"]["artifact"].get("store", "default")] if original else []
    begun = [parent.store] if parent else []
    return sorted({spec.output.store, *read, *compared, *begun})


def job(
    run: Manifest,
    spec: TrainingRunSpec,
    defaults: Defaults,
    *,
    deadline: int | None,
    attempts_before: int,
    reread: int,
    original: Manifest | None = None,
    pins: Sequence[DataPin] = (),
    parent: ParentPin | None = None,
) -> dict[str, Any]:
    """The Job of a run.

    No ``ttlSecondsAfterFinished``: the TTL controller knows nothing of results, so the operator deletes the Job
    itself, and only after the result is recorded.

    Args:
        deadline: seconds that the Job may take; None: as long as it likes.
        attempts_before: attempts of earlier Jobs of this run.
        reread: which re-read of the result this is; 0 is the training itself.
        original: the version that the run makes once more, if it does.
        pins: the versions of the Datasets that the run names.
        parent: the weights that it begins with, if it does.
    """
    own: dict[str, Any] = {"backoffLimit": spec.backoff_limit, "suspend": spec.suspend}
    if deadline is not None:
        own["activeDeadlineSeconds"] = deadline
    return pods.job(
        run,
        run["metadata"]["name"],
        run_labels(run, spec, role=ROLE),
        _pod(run, spec, defaults, original, pins, parent),
        annotations={ATTEMPTS_ANNOTATION: str(attempts_before), REREAD_ANNOTATION: str(reread)},
        **own,
    )


def job_suspend(run: Manifest, suspend: bool, deadline: int | None) -> dict[str, Any]:
    """The fields of a Job that we change. The rest is left out on purpose: a Job's template cannot be changed, and
    an operator with newer defaults would otherwise fail to suspend a Job that an older one made.

    Args:
        deadline: all the seconds that the run may take once it goes on: the Job may have been made when some of them
            were gone by waiting.
    """
    meta = run["metadata"]
    changed: dict[str, Any] = {"suspend": suspend}
    if deadline is not None:
        changed["activeDeadlineSeconds"] = deadline
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "spec": changed,
    }


def run_labels(run: Manifest, spec: TrainingRunSpec, **more: str) -> dict[str, str]:
    """Labels that lead from a child back to its run and its model."""
    meta = run["metadata"]
    return pods.managed(model=spec.model, training_run=meta["name"], training_run_uid=meta["uid"], **more)


def _pod(
    run: Manifest,
    spec: TrainingRunSpec,
    defaults: Defaults,
    original: Manifest | None,
    pins: Sequence[DataPin],
    parent: ParentPin | None,
) -> dict[str, Any]:
    resources = spec.resources
    asked = contract.dumps(train_spec(run, spec, original, pins, parent))
    work, work_mount = pods.scratch("work", contract.WORK_DIR, defaults.scratch_size)
    # Programs that a `command:` starts write to /tmp without asking TMPDIR.
    tmp, tmp_mount = pods.scratch("tmp", "/tmp", defaults.scratch_size)  # noqa: S108 - a mount path
    # torch's DataLoader passes batches through shared memory; the runtime's own /dev/shm has 64 MiB. What is written
    # there counts as the container's memory.
    shm, shm_mount = pods.scratch("shm", "/dev/shm", resources.memory)  # noqa: S108 - a mount path
    shm["emptyDir"]["medium"] = "Memory"
    volumes, mounts = [work, tmp, shm], [work_mount, tmp_mount, shm_mount]
    code, first = spec.code or Code(), {}
    if code.config_map:
        volumes.append({"name": "code", "configMap": {"name": code.config_map}})
    elif code.git:
        git, git_mount = pods.scratch("git", contract.GIT_DIR, defaults.scratch_size)
        files, files_mount = pods.scratch("code", contract.CODE_DIR, defaults.scratch_size)
        volumes += [files, git]
        first = {"initContainers": [_checkout(asked, spec, code.git, defaults, [files_mount, git_mount])]}
    if spec.code:
        mounts.append({"name": "code", "mountPath": contract.CODE_DIR, "readOnly": True})
    container = pods.program(
        CONTAINER,
        spec.image or defaults.trainer_image,
        defaults.image_pull_policy,
        asked,
        contract.WORK_DIR,
        places(spec, original, pins, parent),
        command=list(COMMAND),
        ports=[pods.PROGRESS],
        resources=pods.requirements(resources.cpu, resources.memory, resources.gpu.count, resources.gpu.resource_name),
        volumeMounts=mounts,
    )
    container["env"] += _listener(defaults)
    return {**first, "containers": [container], "volumes": volumes}


def _checkout(
    asked: str, spec: TrainingRunSpec, git: GitCode, defaults: Defaults, mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    """The container that fetches the code. It takes no more than the training that follows it, so it costs no room."""
    container = pods.program(
        CODE_CONTAINER,
        defaults.trainer_image,
        defaults.image_pull_policy,
        asked,
        contract.GIT_DIR,
        [spec.output.store],
        command=list(CODE_COMMAND),
        resources=pods.requirements(spec.resources.cpu, spec.resources.memory),
        volumeMounts=mounts,
    )
    container["env"] += pods.git_env_vars(git.url, git.secret) if git.secret else ()
    return container


# ------------------------------------------------------------------------------------------------------ numbers


def version_name(model: str, number: int) -> str:
    """The name of a ModelVersion.

    >>> version_name("digits", 3)
    'digits-v3'
    """
    return f"{model}-v{number}"


def model_version(run: Manifest, spec: TrainingRunSpec, made: ModelVersionSpec, lineage: Lineage) -> dict[str, Any]:
    """The ModelVersion that comes out. It has no owner: it outlives the run that made it."""
    told = json.dumps(lineage.wire(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    author = run["metadata"].get("annotations", {}).get(CREATED_BY_ANNOTATION)
    return {
        "apiVersion": API_VERSION,
        "kind": MODEL_VERSIONS.kind,
        "metadata": {
            "name": version_name(made.model, made.version),
            "namespace": run["metadata"]["namespace"],
            "labels": {**run_labels(run, spec), **wayback.labels(made, lineage)},
            "annotations": {LINEAGE_ANNOTATION: told, **({CREATED_BY_ANNOTATION: author} if author else {})},
        },
        "spec": made.wire(),
    }

"""Reads what there is of a ModelVersion: its verification, the versions it shares aliases with, who runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from slipway import contract, jobfacts, ledger, podfacts
from slipway.api import wayback
from slipway.api.common import Label
from slipway.api.model_version import ModelVersionSpec, ModelVersionStatus
from slipway.kube.client import Reader
from slipway.kube.objects import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    JOBS,
    MODEL_VERSIONS,
    NAMESPACES,
    PODS,
    TRAINING_RUNS,
    WORKLOADS,
    Key,
    Manifest,
    Resource,
    key_of,
)
from slipway.kube.recent import Recent
from slipway.kube.told import failed_creates
from slipway.registry import borders
from slipway.registry.children import Defaults, discard_name, job_name
from slipway.registry.evidence_job import CONFIG_MAP as SIGNING
from slipway.registry.evidence_job import job_name as sign_job_name
from slipway.registry.reproductions import Runs

ASKED_AGE: Final = 2.0
"""Seconds that the answer to whether a namespace has its versions signed may be old, for one that is Ready already:
long enough that an operator which starts with ten thousand versions does not ask ten thousand times."""


@dataclass(frozen=True)
class Observed:
    """The world as one pass sees it.

    Attributes:
        job: the Job of the name that the verification has, whoever made it.
        pods: pods of the verification, the newest first.
        store: whether the ConfigMap of the artifact's S3 place exists.
        siblings: the other versions of this model; read only where this one lists an alias.
        deployments: the Deployments that have a workload of this version.
        discard_job: the Job of the name that deletes the file, whoever made it; with its pods, the newest first.
        ledger: the ledger of the model's numbers; read until it is known to know this one.
        refusals: Events in which the Job controller says that it cannot make a pod, of those Jobs that lack theirs.
        sharers: other versions whose file is the same at the same place; read only where it may be deleted.
        reproductions: the TrainingRuns that made it once more and said what came of it.
        signing: the ConfigMap ``slipway-signing``; read only where no signature is recorded.
        sign_job: the Job of the name that signing has, whoever made it.
        sign_pods: pods of that Job, the newest first.
        namespaces: of a promotion: its own Namespace and the one that it comes from, by name.
        original: the version that it is to be a copy of; read only where both Namespaces allow it.
    """

    version: Manifest
    spec: ModelVersionSpec
    status: ModelVersionStatus
    defaults: Defaults
    job: Manifest | None = None
    pods: tuple[Manifest, ...] = ()
    store: bool = True
    siblings: tuple[Manifest, ...] = ()
    deployments: tuple[Manifest, ...] = ()
    reproductions: tuple[Manifest, ...] = ()
    signing: Manifest | None = None
    sign_job: Manifest | None = None
    sign_pods: tuple[Manifest, ...] = ()
    namespaces: Mapping[str, Manifest] = field(default_factory=dict)
    original: Manifest | None = None
    discard_job: Manifest | None = None
    discard_pods: tuple[Manifest, ...] = ()
    sharers: tuple[Manifest, ...] = ()
    ledger: Manifest | None = None
    refusals: tuple[Manifest, ...] = ()


async def observe(kube: Reader, key: Key, *, defaults: Defaults, runs: Runs, recent: Recent) -> Observed | None:
    """Everything that ``decide`` needs; None where the version is gone, or going and shows no alias any more."""
    version = await kube.get(MODEL_VERSIONS, key.namespace, key.name)
    if version is None:
        return None
    spec = ModelVersionSpec.model_validate(version["spec"])
    status = ModelVersionStatus.model_validate(version.get("status") or {})
    if podfacts.leaving(version):
        # A finalizer may keep it for long: nobody else takes an alias that it still shows.
        return Observed(version, spec, status, defaults) if status.held_aliases else None
    job = await kube.get(JOBS, key.namespace, job_name(key.name))
    uid = str(version["metadata"]["uid"])
    pods: tuple[Manifest, ...] = ()
    store = True
    if status.verification is None:
        pods = await _pods(kube, key, uid, "verify", job)
        name = contract.store_object_name(spec.artifact.store)
        store = await kube.get(CONFIG_MAPS, key.namespace, name) is not None
    siblings: list[Manifest] = []
    if spec.aliases:
        # By label, or a thousand champions among ten thousand versions would be ten million objects at each start. A
        # version that a person made carries none at first, and is not Ready before it has it (``decide``).
        found = await kube.list(MODEL_VERSIONS, key.namespace, {Label.MODEL: spec.model})
        siblings = [v for v in found if v["spec"]["model"] == spec.model and v["metadata"]["name"] != key.name]
    discard_job, discard_pods, sharers = await _archive(kube, key, uid, spec, status, defaults)
    signing = await _signing(kube, key, uid, spec, status, recent)
    refusals: list[Manifest] = []
    works = [(discard_job, discard_pods), (signing[1], signing[2])]
    for work, found_pods in works if status.verification else [(job, pods), *works]:
        if work is not None and jobfacts.lacks_pod(work, found_pods):
            refusals += await failed_creates(kube, work)
    again = [await kube.get(TRAINING_RUNS, run.namespace, run.name) for run in runs.of(key)]
    return Observed(
        version,
        spec,
        status,
        defaults,
        job,
        pods,
        store,
        tuple(siblings),
        await _runners(kube, key),
        tuple(run for run in again if run is not None),
        *signing,
        *await _promotion(kube, key, spec, status, defaults),
        discard_job=discard_job,
        discard_pods=discard_pods,
        sharers=sharers,
        ledger=await _ledger(kube, key, spec, status),
        refusals=tuple(refusals),
    )


async def _ledger(kube: Reader, key: Key, spec: ModelVersionSpec, status: ModelVersionStatus) -> Manifest | None:
    if status.numbered or status.failure is not None:
        return None
    return await kube.get(CONFIG_MAPS, key.namespace, ledger.name(spec.model))


async def _pods(kube: Reader, key: Key, uid: str, role: str, job: Manifest | None) -> tuple[Manifest, ...]:
    """The pods of the version's Job of a role."""
    found = await kube.list(PODS, key.namespace, {Label.MODEL_VERSION: key.name, Label.ROLE: role}) if job else []
    return jobfacts.pods_of(job, uid, role, found)


async def _archive(
    kube: Reader, key: Key, uid: str, spec: ModelVersionSpec, status: ModelVersionStatus, defaults: Defaults
) -> tuple[Manifest | None, tuple[Manifest, ...], tuple[Manifest, ...]]:
    """Of a version whose file goes: the Job and the pods that delete it, and who needs the file still."""
    if not spec.archived or (spec.artifact_policy == "Keep" and status.artifact_deletion is None):
        return None, (), ()
    job = await kube.get(JOBS, key.namespace, discard_name(key.name))
    if status.artifact_deletion is not None and status.artifact_deletion.at is not None:
        return job, (), ()
    pods = await _pods(kube, key, uid, "discard", job)
    # In this namespace, and wherever it was promoted to or from: no other namespace's versions have a say here.
    where, held = None if defaults.whole_cluster else key.namespace, wayback.short(spec.artifact.digest)
    others = await kube.list(MODEL_VERSIONS, where, {Label.ARTIFACT: held}) if held else []
    sharers = [
        v
        for v in others
        if key_of(v) != key
        and _needs(v, spec)
        and (v["metadata"]["namespace"] == key.namespace or _way(key, status) & _way(key_of(v), _status(v)))
    ]
    return job, pods, tuple(sharers)


def _way(key: Key, status: ModelVersionStatus) -> set[Key]:
    """Itself, and every version that it is a copy of."""
    return {key, *(Key(p.namespace, p.model_version) for p in (status.lineage.promotions if status.lineage else ()))}


def _status(version: Manifest) -> ModelVersionStatus:
    return ModelVersionStatus.model_validate(version.get("status") or {})


def _needs(version: Manifest, spec: ModelVersionSpec) -> bool:
    """Whether another version needs the very file: it is not about to lose its own."""
    theirs = ModelVersionSpec.model_validate(version["spec"])
    same = (theirs.artifact.uri, theirs.artifact.digest) == (spec.artifact.uri, spec.artifact.digest)
    return same and not (theirs.archived and theirs.artifact_policy == "Delete")


async def _promotion(
    kube: Reader, key: Key, spec: ModelVersionSpec, status: ModelVersionStatus, defaults: Defaults
) -> tuple[Mapping[str, Manifest], Manifest | None]:
    """The two Namespaces of a promotion that has still to be made, and, where both allow it, the original."""
    asked = spec.promoted_from
    if asked is None or not defaults.whole_cluster or borders.taken_over(status):
        return {}, None
    both = {name: await kube.get(NAMESPACES, "", name) for name in (key.namespace, asked.namespace)}
    known = {name: found for name, found in both.items() if found is not None}
    if borders.not_allowed(asked, key.namespace, known, defaults) is not None:
        return known, None
    original = await kube.get(MODEL_VERSIONS, asked.namespace, asked.model_version)
    return known, None if original is None or podfacts.leaving(original) else original


async def _signing(
    kube: Reader, key: Key, uid: str, spec: ModelVersionSpec, status: ModelVersionStatus, recent: Recent
) -> tuple[Manifest | None, Manifest | None, tuple[Manifest, ...]]:
    """What the namespace asks for, and the Job and the pods that do it."""
    if status.evidence is not None:
        return None, await kube.get(JOBS, key.namespace, sign_job_name(key.name)), ()
    rejected = spec.approval is not None and spec.approval.state == "Rejected"
    if status.failure is not None or spec.archived or rejected:
        return None, None, ()
    # Before the verification is recorded too: the very pass that records it must know whether that is enough. One that
    # is Ready learns a little later that a signature is wanted of it; one that is not must not become so unsigned.
    read = recent.get if status.phase == "Ready" else _now
    asked = await read(kube, CONFIG_MAPS, key.namespace, SIGNING)
    job = await kube.get(JOBS, key.namespace, sign_job_name(key.name)) if asked else None
    return asked, job, await _pods(kube, key, uid, "sign", job)


async def _now(kube: Reader, resource: Resource, namespace: str, name: str) -> Manifest | None:
    return await kube.get(resource, namespace, name)


async def _runners(kube: Reader, key: Key) -> tuple[Manifest, ...]:
    """The Deployments that have a workload of this version.

    By the workloads' label and not by reading all Deployments: with a thousand of each, that would be a million
    objects at every start.
    """
    workloads = await kube.list(WORKLOADS, key.namespace, {Label.MODEL_VERSION: key.name})
    names = {w["metadata"]["labels"].get(Label.DEPLOYMENT) for w in workloads}
    found = [await kube.get(DEPLOYMENTS, key.namespace, name) for name in sorted(n for n in names if n)]
    return tuple(d for d in found if d is not None)

"""Reads what there is of a TrainingRun: the run, its Job, its pods, the ledger, the versions, live progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slipway import contract, jobfacts, ledger, podfacts
from slipway.api.common import Label
from slipway.api.training_run import TrainingRunSpec, TrainingRunStatus
from slipway.kube.client import Reader
from slipway.kube.objects import (
    CONFIG_MAPS,
    DATASETS,
    JOBS,
    MODEL_VERSIONS,
    NAMESPACES,
    PODS,
    TRAINING_RUNS,
    Key,
    Manifest,
)
from slipway.kube.told import failed_creates
from slipway.progress import ProgressSource
from slipway.training import approval, data, parent
from slipway.training.children import CONTAINER, ROLE, Defaults, places


@dataclass(frozen=True)
class Observed:
    """The world as one pass sees it.

    Attributes:
        job: the Job of the run's name, whoever made it.
        pods: pods of the run's Job, the newest first; none where the Job is somebody else's.
        missing: ConfigMaps that the pod needs and that do not exist.
        ledger: the ledger of the model; read only when there is a result to record.
        versions: every ModelVersion of the model when there is a result to record; else those that this run made,
            read only where Job or pods are gone.
        namespace: the Namespace; read only when there is a result to record whose run says nothing of approval.
        refusals: Events in which the Job controller says that it cannot make the pod; read only while the Job lacks
            one.
        progress: what the running pod says.
        original: the ModelVersion that this run makes once more; read only where a Job may have to be made, or where
            there is a result to compare.
        parent: the ModelVersion that this run begins from; read until its weights are settled.
        datasets: the Datasets whose version is to be settled, by name; those that do not exist are left out.
    """

    run: Manifest
    spec: TrainingRunSpec
    status: TrainingRunStatus
    defaults: Defaults
    job: Manifest | None = None
    pods: tuple[Manifest, ...] = ()
    missing: tuple[str, ...] = ()
    ledger: Manifest | None = None
    versions: tuple[Manifest, ...] = ()
    progress: contract.Progress | None = None
    original: Manifest | None = None
    datasets: Mapping[str, Manifest] = field(default_factory=dict)
    parent: Manifest | None = None
    namespace: Manifest | None = None
    refusals: tuple[Manifest, ...] = ()

    @property
    def ended(self) -> bool:
        """The end is recorded: nothing that happens to Job, pods or version changes it any more."""
        return self.status.completion_time is not None


async def observe(kube: Reader, key: Key, *, defaults: Defaults, progress: ProgressSource) -> Observed | None:
    """Everything that ``decide`` needs; None where the run is gone or going."""
    run = await kube.get(TRAINING_RUNS, key.namespace, key.name)
    if run is None or podfacts.leaving(run):
        return None
    spec = TrainingRunSpec.model_validate(run["spec"])
    status = TrainingRunStatus.model_validate(run.get("status") or {})
    if status.completion_time is not None:
        # All that is left to do is to delete the Job in time.
        late = await kube.get(JOBS, key.namespace, key.name) if spec.ttl_after_finished else None
        return Observed(run, spec, status, defaults, late)
    job = await kube.get(JOBS, key.namespace, key.name)
    uid = run["metadata"]["uid"]
    found = await kube.list(PODS, key.namespace, {Label.TRAINING_RUN_UID: uid, Label.ROLE: ROLE}) if job else []
    pods = jobfacts.pods_of(job, uid, ROLE, found)
    running = next((p for p in pods if _trains(p)), None)
    if job is not None and running is not None and not _finished(job):
        ip = running["status"].get("podIP")
        return Observed(run, spec, status, defaults, job, pods, progress=await progress.read(ip) if ip else None)
    original = None
    if spec.reproduce_of:
        original = await kube.get(MODEL_VERSIONS, key.namespace, spec.reproduce_of.model_version)
    needed = [contract.store_object_name(place) for place in places(spec, original, status.data, status.parent)]
    if spec.code and spec.code.config_map:
        needed.append(spec.code.config_map)
    missing = [name for name in needed if await kube.get(CONFIG_MAPS, key.namespace, name) is None]
    book, namespace, versions = None, None, []
    if spec.reproduce_of:
        pass  # it makes no version, so it takes no number
    elif any(podfacts.terminated(p, CONTAINER).get("exitCode") == 0 for p in pods):
        # A number is about to be taken. Versions made by hand carry no label, so all of the namespace are read.
        book = await kube.get(CONFIG_MAPS, key.namespace, ledger.name(spec.model))
        everything = await kube.list(MODEL_VERSIONS, key.namespace)
        versions = [v for v in everything if v["spec"]["model"] == spec.model]
        namespace = None if approval.said(spec) else await kube.get(NAMESPACES, "", key.namespace)
    elif job is None or _finished(job):
        # The Job or its pods were deleted: maybe after the version was made, but before that was recorded.
        versions = await kube.list(MODEL_VERSIONS, key.namespace, {Label.TRAINING_RUN_UID: uid})
    begun_from = None
    if spec.from_ and parent.is_open(spec, status):
        begun_from = await kube.get(MODEL_VERSIONS, key.namespace, spec.from_.model_version)
    datasets = {
        name: dataset
        for name in data.open_names(spec, status)
        if (dataset := await kube.get(DATASETS, key.namespace, name)) is not None
    }
    return Observed(
        run,
        spec,
        status,
        defaults,
        job,
        pods,
        tuple(missing),
        book,
        tuple(versions),
        original=original,
        datasets=datasets,
        parent=begun_from,
        namespace=namespace,
        refusals=await failed_creates(kube, job) if job and jobfacts.lacks_pod(job, pods) else (),
    )


def _trains(pod: Manifest) -> bool:
    """Whether a pod can be asked how far it is. Its phase is Running for a moment after its container has ended."""
    ended = podfacts.leaving(pod) or podfacts.terminated(pod, CONTAINER)
    return podfacts.phase(pod) == "Running" and not ended


def _finished(job: Manifest) -> bool:
    return any(
        c["type"] in ("Complete", "SuccessCriteriaMet", "Failed", "FailureTarget") and c["status"] == "True"
        for c in job.get("status", {}).get("conditions", ())
    )

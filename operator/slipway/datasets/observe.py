"""Reads what there is of a Dataset: the Job of its check, that Job's pods, the S3 places that it needs."""

from __future__ import annotations

from dataclasses import dataclass

from slipway import contract, jobfacts, podfacts
from slipway.api.common import Label
from slipway.api.dataset import DatasetSpec, DatasetStatus
from slipway.datasets.children import CONTAINER, ROLE, Defaults, job_name, places
from slipway.kube.client import Reader
from slipway.kube.objects import CONFIG_MAPS, DATASETS, JOBS, PODS, Key, Manifest, action_of
from slipway.kube.told import failed_creates
from slipway.progress import ProgressSource


@dataclass(frozen=True)
class Observed:
    """The world as one pass sees it.

    Attributes:
        action: what a person asks for by annotation; None where nobody asks.
        action_by: the field manager that wrote it, where known.
        job: the Job of the name that the check has, whoever made it.
        pods: pods of that Job, the newest first; none where it is another's; read only while a check is under way.
        missing: S3 places that the pod needs and that this namespace was not given.
        progress: what the pod says that reads the data now.
        refusals: Events in which the Job controller says that it cannot make the pod; read only while the Job lacks
            one.
    """

    dataset: Manifest
    spec: DatasetSpec
    status: DatasetStatus
    defaults: Defaults
    action: str | None = None
    action_by: str | None = None
    job: Manifest | None = None
    pods: tuple[Manifest, ...] = ()
    missing: tuple[str, ...] = ()
    progress: contract.Progress | None = None
    refusals: tuple[Manifest, ...] = ()


async def observe(kube: Reader, key: Key, *, defaults: Defaults, progress: ProgressSource) -> Observed | None:
    """Everything that ``decide`` needs; None where the Dataset is gone or going."""
    dataset = await kube.get(DATASETS, key.namespace, key.name)
    if dataset is None or podfacts.leaving(dataset):
        return None
    spec = DatasetSpec.model_validate(dataset["spec"])
    status = DatasetStatus.model_validate(dataset.get("status") or {})
    job = await kube.get(JOBS, key.namespace, job_name(key.name))
    pods: tuple[Manifest, ...] = ()
    missing: list[str] = []
    if not status.settled(dataset["metadata"]["generation"]):
        uid = dataset["metadata"]["uid"]
        found = await kube.list(PODS, key.namespace, {Label.DATASET_UID: uid, Label.ROLE: ROLE}) if job else []
        pods = jobfacts.pods_of(job, uid, ROLE, found)
        missing = [
            place
            for place in places(spec)
            if await kube.get(CONFIG_MAPS, key.namespace, contract.store_object_name(place)) is None
        ]
    running = next((p for p in pods if _reads(p)), None)
    ip = running["status"].get("podIP") if running else None
    said = await progress.read(ip) if ip else None
    action, by = action_of(dataset)
    refusals = await failed_creates(kube, job) if job and jobfacts.lacks_pod(job, pods) else ()
    return Observed(dataset, spec, status, defaults, action, by, job, pods, tuple(missing), said, refusals)


def _reads(pod: Manifest) -> bool:
    """Whether a pod can be asked how far it is. Its phase is Running for a moment after its container has ended."""
    ended = podfacts.leaving(pod) or podfacts.terminated(pod, CONTAINER)
    return podfacts.phase(pod) == "Running" and not ended

"""What Kubernetes' own controllers tell in Events, and nowhere else."""

from __future__ import annotations

from slipway.kube.client import Reader
from slipway.kube.objects import CORE_EVENTS, Manifest


async def failed_creates(kube: Reader, job: Manifest) -> tuple[Manifest, ...]:
    """The Events in which the Job controller says that the API server refused a pod of this Job: no condition of the
    Job does (kubernetes/kubernetes: pkg/controller/controller_utils.go, ``FailedCreatePodReason``).

    Ask only while a Job lacks its pod: the API server reads all Events of the namespace for it.
    """
    meta = job["metadata"]
    about = {"involvedObject.uid": meta["uid"], "reason": "FailedCreate"}
    return tuple(await kube.list(CORE_EVENTS, meta["namespace"], fields=about))

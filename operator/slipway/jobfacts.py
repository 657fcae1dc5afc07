"""What a Job of ours and its pods say, for every room that has work done by one. Pure.

A Job carries out one try. What its pod found is recorded in status before the Job is deleted; a Job that ended without
a word is followed by another one after a while, longer each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from slipway import contract, podfacts
from slipway.api.common import Label, parse_time
from slipway.api.reasons import Reason
from slipway.kube.objects import JOBS, Manifest, Resource, owned_by
from slipway.kube.plan import Delete, delete

T = TypeVar("T")

FIRST_WAIT: Final = 30.0
LAST_WAIT: Final = 1800.0
"""Seconds from a Job that ended without a word to the next one: doubled each time, from the first to the last."""

_CREATING: Final = re.compile(r'^Error creating: (pods "[^"]*" is forbidden: )?')
"""The pod's name has other letters at each try, and the sentence must stay the same."""


def is_ours(job: Manifest, owner_uid: str, role: str) -> bool:
    """Whether a Job is the one that a room makes for one of its objects.

    An ownerReference is anybody's to write, and so is a Job's name. The label of the role is not: the chart's admission
    policy lets nobody but the operator make a Job that carries it (docs/design/0017).
    """
    return owned_by(job, owner_uid) and (job["metadata"].get("labels") or {}).get(Label.ROLE) == role


def pods_of(job: Manifest | None, owner_uid: str, role: str, pods: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """Of pods that were found by their labels, those whose word counts, the newest first: their controller is the Job
    that the room made. What carries the same labels without it was made by somebody else."""
    if job is None or not is_ours(job, owner_uid, role):
        return ()
    return tuple(podfacts.newest_first(pod for pod in pods if owned_by(pod, job["metadata"]["uid"])))


def condition(job: Manifest | None, *kinds: str) -> dict[str, Any] | None:
    """A condition of a Job that is True, of the first kind that is."""
    found: list[dict[str, Any]] = (job or {}).get("status", {}).get("conditions", [])
    true = {c["type"]: c for c in found if c["status"] == "True"}
    return next((true[kind] for kind in kinds if kind in true), None)


def result(kind: type[T], pods: Iterable[Manifest], container: str) -> tuple[T, Manifest] | None:
    """The word of the first pod that ended well and left one that can be read, and that pod."""
    for pod in pods:
        end = podfacts.terminated(pod, container)
        if end.get("exitCode") == contract.EXIT_OK:
            try:
                return contract.loads(kind, str(end.get("message", ""))), pod
            except contract.ContractError:
                continue
    return None


def live(pods: Iterable[Manifest]) -> Manifest | None:
    """The first pod that has not ended and was not told to."""
    return next((p for p in pods if podfacts.phase(p) in ("Pending", "Running") and not podfacts.leaving(p)), None)


def of_an_earlier(job: Manifest, kind: Resource, name: str) -> bool:
    """Whether a Job is of an object that had this name before."""
    references = job["metadata"].get("ownerReferences", ())
    return any(ref.get("kind") == kind.kind and ref.get("name") == name for ref in references)


def lacks_pod(job: Manifest | None, pods: Iterable[Manifest]) -> bool:
    """Whether a Job should have a pod and has none: the Job controller has begun with it and it is not over.

    A Job that was made a moment ago is not meant: its pod comes before its ``startTime`` is written.
    """
    if job is None or podfacts.leaving(job) or job["spec"].get("suspend") or "startTime" not in job.get("status", {}):
        return False
    if condition(job, "Complete", "SuccessCriteriaMet", "Failed", "FailureTarget"):
        return False
    found = list(pods)
    return live(found) is None and not any(podfacts.phase(pod) == "Succeeded" for pod in found)


def not_made(job: Manifest | None, pods: Iterable[Manifest], events: Iterable[Manifest]) -> podfacts.Trouble | None:
    """Why a Job's pod is not there, by the Job controller's own Events; None where nothing is known.

    An Event that is older than the newest pod, or than the Job's present start, tells of a trouble that is over.

    Args:
        events: those of ``kube.told.failed_creates``.
    """
    found = list(pods)
    if job is None or not lacks_pod(job, found):
        return None
    moments = [job["status"]["startTime"], *(p["metadata"].get("creationTimestamp") for p in found)]
    moments += [_ended_at(pod) for pod in found]
    since = max(parse_time(moment) for moment in moments if moment)
    told = [(parse_time(at), str(e.get("message", ""))) for e in events if (at := _told_at(e))]
    newest, words = max(told, default=(since - timedelta.resolution, ""))
    if newest < since:
        return None
    name = job["metadata"]["name"]
    return podfacts.Trouble(
        Reason.POD_REFUSED,
        f"the pod of the Job {name} cannot be made: {_CREATING.sub('', words)}. It is tried again by itself: ask for "
        "less, or have what refuses it changed",
        stalled=True,
    )


def _ended_at(pod: Manifest) -> str | None:
    ends = (s.get("state", {}).get("terminated", {}) for s in pod.get("status", {}).get("containerStatuses", ()))
    return max((str(end["finishedAt"]) for end in ends if end.get("finishedAt")), default=None)


def _told_at(event: Manifest) -> str | None:
    """When an Event was told last."""
    series = event.get("series") or {}
    at = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(at) if at else None


def drop(job: Manifest | None, owner_uid: str) -> tuple[Delete, ...]:
    """The end of a Job that is there still, ours, and not on its way out."""
    if job is None or podfacts.leaving(job) or not owned_by(job, owner_uid):
        return ()
    return (delete(JOBS, job),)


def wait(tries: int) -> float:
    """Seconds from the end of a try to the next one; tries are counted from 0.

    >>> wait(0), wait(2), wait(99)
    (30.0, 120.0, 1800.0)
    """
    return min(LAST_WAIT, FIRST_WAIT * 2.0 ** min(tries, 16))


def left(over: Manifest, seconds: float, now: datetime) -> float:
    """Of so many seconds since a condition began, those that are left."""
    since = over.get("lastTransitionTime")
    return seconds - (now - parse_time(since)).total_seconds() if since else 0.0


def store_missing(place: str) -> str:
    """What to say of an S3 place that a namespace was not given."""
    keys = contract.StoreKeys
    return (
        f'this namespace was not given the S3 place "{place}": make a ConfigMap and a Secret, both named '
        f"{contract.store_object_name(place)}; the ConfigMap holds {keys.ENDPOINT} and {keys.BUCKET}, the Secret holds "
        f"{keys.ACCESS_KEY} and {keys.SECRET_KEY}"
    )

"""What becomes of the file of a version that is out of use? It is kept, or deleted where ``spec.artifactPolicy`` says
so. Pure.

A file is deleted by a Job in the version's own namespace, with that namespace's keys, and only if it has the recorded
digest: what lies there instead is somebody else's. It is deleted only when nothing runs the version and no other one
holds the same bytes at the same place (a promotion does, unless its file was copied).

Facts in status that cannot be seen in the cluster: ``artifactDeletion.since`` (written before the Job is made; from
then on the API server lets nobody take the version back into use) and ``.at``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from slipway import contract, jobfacts, podfacts
from slipway.api.common import parse_time, rfc3339
from slipway.api.deployment import runs
from slipway.api.model_version import ArtifactDeletion
from slipway.api.reasons import Reason
from slipway.kube.plan import Change, Create
from slipway.registry import children
from slipway.registry.children import CONTAINER
from slipway.registry.observe import Observed

LOOK_EVERY: Final = 30.0
"""Seconds between two looks at what keeps a file, which may be in another namespace."""
RETRY: Final = 300.0
"""Seconds from a Job that could not delete the file to the next one."""
_MEMORY: Final = "the 256Mi that deleting a file gets"


@dataclass(frozen=True)
class Ruling:
    """What is known of the file's end. ``words`` are a part of a sentence; empty where the file is kept."""

    words: str = ""
    reason: str = Reason.ARCHIVED
    stalled: bool = False
    changes: tuple[Change, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    again: float | None = None


def judge(seen: Observed, now: datetime) -> Ruling:
    """What is to be done about the file. Asked of every version; most say nothing."""
    deletion, job = seen.status.artifact_deletion, seen.discard_job
    if not seen.spec.archived:
        return Ruling()
    if deletion is not None and deletion.at is not None:
        return Ruling(
            f"its file was deleted at {deletion.at}", changes=jobfacts.drop(job, str(seen.version["metadata"]["uid"]))
        )
    if seen.spec.artifact_policy == "Keep" and deletion is None:
        return Ruling(_taken(seen))
    if seen.deployments or seen.sharers:
        who = [f"the Deployment {d['metadata']['name']} runs it" for d in seen.deployments[:1]]
        who += [f"{v['metadata']['namespace']}/{v['metadata']['name']} has the same file" for v in seen.sharers[:1]]
        return Ruling(f"its file is kept while {who[0]}", again=LOOK_EVERY)
    if deletion is None:
        return Ruling(
            "its file is about to be deleted", facts={"artifact_deletion": ArtifactDeletion(since=rfc3339(now))}
        )
    return _working(seen, now)


def _taken(seen: Observed) -> str:
    """Whose it became between the API server's look at ``status.deployments`` and its archiving, for a sentence."""
    name = seen.version["metadata"]["name"]
    for found in seen.deployments:
        if any(version == name for version, _ in runs(found)):
            who = found["metadata"]["name"]
            return f"the Deployment {who} took it in that moment, and runs it until it names another version"
    return ""


def _working(seen: Observed, now: datetime) -> Ruling:
    job, words = seen.discard_job, "its file is being deleted"
    if job is None:
        return Ruling(words, changes=(Create(children.discard(seen.version, seen.spec, seen.defaults)),))
    name = job["metadata"]["name"]
    if podfacts.leaving(job):
        return Ruling(words)
    if not jobfacts.is_ours(job, str(seen.version["metadata"]["uid"]), "discard"):
        taken = f"its file must be deleted by a Job {name}, which exists and is not ours: delete it"
        return Ruling(taken, Reason.NAME_TAKEN, stalled=True, again=LOOK_EVERY)
    if done := _result(seen, now):
        return done
    over = jobfacts.condition(job, "Failed", "Complete")
    trouble = next((t for p in seen.discard_pods if (t := podfacts.ended(p, CONTAINER, _MEMORY))), None)
    if over is None:
        if refused := jobfacts.not_made(job, seen.discard_pods, seen.refusals):
            return Ruling(f"{words}: {refused.message}", refused.reason, stalled=True, again=LOOK_EVERY)
        waiting = next((t for p in seen.discard_pods[:1] if (t := podfacts.waiting(p, CONTAINER))), None)
        return Ruling(f"{words}: {waiting.message}" if waiting else words, again=LOOK_EVERY)
    why = trouble.message if trouble else str(over.get("message") or "its pod left no word")
    if (left := jobfacts.left(over, RETRY, now)) > 0:
        told = f"its file could not be deleted: {why}. It is tried again every 5m"
        return Ruling(told, Reason.ARTIFACT_NOT_DELETED, stalled=True, again=left)
    return Ruling(words, changes=jobfacts.drop(job, str(seen.version["metadata"]["uid"])))


def _result(seen: Observed, now: datetime) -> Ruling | None:
    for pod in seen.discard_pods:
        end = podfacts.terminated(pod, CONTAINER)
        if end.get("exitCode") != contract.EXIT_OK:
            continue
        try:
            said = contract.loads(contract.DiscardResult, str(end.get("message", "")))
        except contract.ContractError:
            continue
        deletion = seen.status.artifact_deletion
        if said.digest != seen.spec.artifact.digest or deletion is None:
            continue
        finished = end.get("finishedAt")
        at = rfc3339(parse_time(finished) if finished else now)
        made = ArtifactDeletion(since=deletion.since, at=at)
        return Ruling(f"its file was deleted at {at}", facts={"artifact_deletion": made})
    return None

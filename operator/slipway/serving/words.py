"""Why a version does not become ready, in the words of its own pods, of the kubelet and of the scheduler. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from slipway import contract, podfacts
from slipway.api.common import parse_time
from slipway.api.deployment import DeploymentSpec, DeploymentStatus
from slipway.api.reasons import Reason
from slipway.kube.objects import Manifest
from slipway.serving.analysis import judge
from slipway.serving.analysis.look import DISAGREEMENT, NOT_COMPARED, total
from slipway.serving.children import CONTAINER
from slipway.serving.observed import Running

_NOBODY: Final = Running()
_DIGEST_MISMATCH: Final = "DigestMismatch"
"""``reason`` of the server's ``Failure`` where the file in the store is not the registered one."""


@dataclass(frozen=True)
class Words:
    """One sentence. ``stalled``: waiting alone does not help. ``hopeless``: the pod itself said that trying again
    cannot help; it said so at ``said_at``, and somebody may have mended it since."""

    reason: Reason
    message: str
    stalled: bool = False
    hopeless: bool = False
    said_at: str | None = None


def words(running: Running, spec: DeploymentSpec) -> Words | None:
    """The most telling trouble of a version's pods; None where nothing is known to be wrong."""
    found = [w for pod in podfacts.newest_first(running.pods) if (w := _of_pod(pod, spec))]
    found += _of_workload(running.workload)
    return min(found, key=lambda w: (not w.hopeless, _ORDER.index(w.reason)), default=None)


_REASONS: Final = {reason.value: reason for reason in Reason}
_ORDER: Final = (
    Reason.ARTIFACT_TAMPERED,
    Reason.CANDIDATE_FAILED,
    Reason.IMAGE_NOT_PULLED,
    Reason.CONFIG_MISSING,
    Reason.OUT_OF_MEMORY,
    Reason.UNSCHEDULABLE,
    Reason.NOT_SERVING,
)
"""The most telling first: what a person can mend before what the cluster may mend."""


def not_compared(facts: DeploymentStatus) -> str | None:
    """That copies reach a shadow, and none of them could be compared; None where some were, or none came."""
    copies = total(facts.looked, "Candidate", NOT_COMPARED)
    if not copies.n or any(e.candidate.n for e in facts.analysis if e.metric == DISAGREEMENT):
        return None
    some = f"{copies.n:,} {'copy' if copies.n == 1 else 'copies'} came"
    if copies.bad * 2 < copies.n:
        return (
            f"{some}, none could be compared with an answer of the stable pods: slipway_server_uncompared_total of the "
            "candidate's pods has the reasons"
        )
    return (
        f"{some}, none could be matched with an answer of the stable pods: see whether a NetworkPolicy keeps the "
        f"candidate's pods from port {contract.METRICS_PORT} of the stable ones, and whether the gateway gives a copy "
        "the x-request-id of its request"
    )


def summary(facts: DeploymentStatus) -> str:
    """What the analysis has found so far; empty before its first look."""
    lost = not_compared(facts)
    told = judge.summary([e for e in facts.analysis if lost is None or e.metric != DISAGREEMENT])
    return "; ".join(said for said in (told, lost) if said)


TOGETHER: Final = timedelta(seconds=60)
"""Between the ends of two containers that one node took with it: the kubelet tells of one after the other, or only when
it is back. Less than the longest back-off between two crashes of a container, so no loop of crashes hides in it."""


def crash(running: Running, since: str, beside: Running = _NOBODY) -> Words | None:
    """What a pod of a version said that crashed since a moment: a container that ended while nobody wanted it to.

    Args:
        running: the candidate.
        since: RFC 3339.
        beside: the stable version. A crash beside one of its own, on the same node and within ``TOGETHER``, is the
            node's doing and not the candidate's. Nothing else excuses one, and one of the stable version's crashes
            excuses no crash at another time.
    """
    others = [(parse_time(at), node) for _, at, node in _ends(beside)]
    for end, at, node in _ends(running):
        # Kubernetes' times have whole seconds, and one that was whole and crashed within the same second
        # would never be noticed. (One that crashed first and was whole within that second is not worth a wait.)
        if at < since or str(end.get("startedAt") or "") > at:
            continue
        if not any(node == theirs and abs(parse_time(at) - theirs_at) <= TOGETHER for theirs_at, theirs in others):
            return _how(end)
    return None


def _ends(running: Running) -> Iterator[tuple[dict[str, Any], str, str | None]]:
    """How and when the servers of a version ended while nobody wanted them to, and on which node; the newest pod first.

    An end without a time is the kubelet's word for a container that it lost sight of: nobody saw a crash.
    """
    for pod in podfacts.newest_first(running.pods):
        if podfacts.leaving(pod) or podfacts.disruption(pod):
            continue
        status = podfacts.container(pod, CONTAINER)
        for state in (status.get("state", {}), status.get("lastState", {})):
            if (end := state.get("terminated")) and end.get("finishedAt"):
                yield end, str(end["finishedAt"]), pod["spec"].get("nodeName")


def _how(end: dict[str, Any]) -> Words:
    if end.get("reason") == "OOMKilled":
        return Words(Reason.OUT_OF_MEMORY, "the server used more memory than spec.resources.memory and was killed")
    said = podfacts.tail(str(end.get("message", "")).strip())
    last = f", last words: {said}" if said else " and no last words"
    return Words(Reason.CANDIDATE_CRASHED, f"the server ended with exit code {end.get('exitCode')}{last}")


def _of_pod(pod: Manifest, spec: DeploymentSpec) -> Words | None:
    if podfacts.leaving(pod) or _ready(pod):
        return None
    status = podfacts.container(pod, CONTAINER)
    end = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    if end and (said := _of_end(end, spec)):
        return said
    trouble = podfacts.waiting(pod, CONTAINER)
    return Words(_REASONS[trouble.reason], trouble.message, trouble.stalled) if trouble else None


def _of_end(end: dict[str, Any], spec: DeploymentSpec) -> Words | None:
    if end.get("reason") == "OOMKilled":
        memory = spec.resources.memory
        return Words(
            Reason.OUT_OF_MEMORY,
            f"the server used more memory than the {memory} of spec.resources.memory and was killed: give it more",
        )
    said = str(end.get("message", "")).strip()
    code = int(end.get("exitCode", 0))
    try:
        failure = contract.loads(contract.Failure, said)
    except contract.ContractError:
        last = f", last words: {podfacts.tail(said)}" if said else " and no last words"
        return Words(Reason.NOT_SERVING, f"the server ended with exit code {code}{last}") if code else None
    hopeless, at = code == contract.EXIT_USER_ERROR, end.get("finishedAt")
    if failure.reason == _DIGEST_MISMATCH:
        return Words(Reason.ARTIFACT_TAMPERED, podfacts.tail(failure.message), hopeless, hopeless, at)
    message = f"{failure.reason}: {podfacts.tail(failure.message)}"
    return Words(Reason.CANDIDATE_FAILED if hopeless else Reason.NOT_SERVING, message, hopeless, hopeless, at)


def _of_workload(workload: Manifest | None) -> list[Words]:
    """Pods that were never made: a quota or an admission plugin refuses them."""
    conditions = workload.get("status", {}).get("conditions", ()) if workload else ()
    return [
        Words(Reason.NOT_SERVING, f"a pod cannot be made: {c.get('message', '')}")
        for c in conditions
        if c["type"] == "ReplicaFailure" and c["status"] == "True"
    ]


def _ready(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)

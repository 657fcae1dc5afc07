"""How many attempts a run has had. Pods vanish (a node is lost, a Job is deleted), so the count is a fact in status
that only grows, from two sources that each miss something the other sees. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from slipway import podfacts
from slipway.api.common import parse_time, rfc3339
from slipway.api.training_run import Attempt
from slipway.kube.objects import Manifest
from slipway.training.children import ATTEMPTS_ANNOTATION, CODE_CONTAINER, CONTAINER


def count(
    attempts: int, last: Attempt | None, job: Manifest | None, pods: Iterable[Manifest]
) -> tuple[int, Attempt | None]:
    """The attempts so far and the newest of them.

    Pods that began after the newest attempt we know are new ones; that one itself is known by its name, whatever it is
    said to have begun at by now. Where pods came and went unseen, the Job's own counters say so: attempts before this
    Job, plus its failed and succeeded pods, plus one that runs.

    Args:
        attempts: the count until now.
        last: the newest attempt until now.
        job: the run's Job, if there is one.
        pods: the run's pods, of whatever Job.
    """
    began = sorted(
        (rfc3339(parse_time(start)), pod["metadata"]["name"], pod)
        for pod in pods
        if (start := podfacts.started_at(pod, CODE_CONTAINER) or podfacts.started_at(pod, CONTAINER))
    )
    known = (last.started_at, last.pod) if last else ("", "")
    seen = attempts + sum(name != known[1] and (start, name) > known for start, name, _ in began)
    counted = 0
    if job is not None:
        status = job.get("status", {})
        # A pod that was told to stop (deadline, suspension) may be counted as failed while it still runs.
        live = any(podfacts.phase(pod) == "Running" and not podfacts.leaving(pod) for _, _, pod in began)
        before = int(job["metadata"].get("annotations", {}).get(ATTEMPTS_ANNOTATION, 0))
        counted = before + int(status.get("failed", 0)) + int(status.get("succeeded", 0)) + live
    newest = Attempt(pod=began[-1][1], started_at=began[-1][0]) if began else None
    if newest is None or (newest.started_at, newest.pod) < known:
        newest = last
    return max(attempts, seen, counted), newest

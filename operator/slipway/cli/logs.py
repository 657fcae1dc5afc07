"""The command ``logs``: what the training code of a run writes; where its code could not be fetched, what the container
that fetches it wrote."""

from __future__ import annotations

import sys
import time
from typing import Final

from slipway.api.common import Label
from slipway.cli import waiting
from slipway.cli.client import PODS, RUNS, Api, Object
from slipway.cli.errors import Stop
from slipway.cli.reading import get
from slipway.cli.show import note

CONTAINER: Final = "trainer"
CODE_CONTAINER: Final = "code"
_PATIENCE: Final = 1.0
"""Seconds between two looks at a pod that has not started."""
_ENDED: Final = frozenset({"Succeeded", "Failed"})


def copy(api: Api, namespace: str | None, name: str, *, follow: bool, tail: int, attempt: int | None) -> None:
    """Copy the log of a pod of the run to standard output.

    Raises:
        Stop: there is no pod any more, or none yet.
    """
    where = namespace or api.namespace
    run = get(api, RUNS, where, name)
    pod = _pod(api, where, name, attempt)
    told = ""
    while follow and attempt is None and not _begun(pod) and _phase(run) not in _ENDED:
        if (message := str((run.get("status") or {}).get("message", ""))) not in ("", told):
            note(message)
            told = message
        time.sleep(_PATIENCE)
        run = waiting.ask(lambda: get(api, RUNS, where, name))
        pod = waiting.ask(lambda: _pod(api, where, name, None))
    if pod is None:
        raise Stop(_no_pod(run))
    container = _speaking(pod)
    if container is None:
        raise Stop(f"the pod {pod['metadata']['name']} has not started: {(run.get('status') or {}).get('message', '')}")
    if container == CODE_CONTAINER:
        note(f"{pod['metadata']['name']} has run no training code: this is its container {container}, which fetches it")
    query = {"container": container, **({"follow": "true"} if follow else {})}
    if tail >= 0:
        query["tailLines"] = str(tail)
    for line in api.lines(PODS.path(where, pod["metadata"]["name"], "log"), **query):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _pod(api: Api, namespace: str, run: str, attempt: int | None) -> Object | None:
    selector = f"{Label.TRAINING_RUN}={run},{Label.ROLE}=train"
    pods = sorted(api.pages(PODS, namespace, selector=selector), key=lambda p: str(p["metadata"]["creationTimestamp"]))
    if attempt is None:
        return pods[-1] if pods else None
    if attempt > len(pods):
        raise Stop(f"{len(pods)} pods of the run {run} still exist: write --attempt 1 to {len(pods)}, or leave it out")
    return pods[attempt - 1]


def _speaking(pod: Object | None) -> str | None:
    """The container whose log tells what the pod is at; None where none has begun."""
    return next(
        (name for name in (CONTAINER, CODE_CONTAINER) if {"running", "terminated"} & set(_state(pod, name))), None
    )


def _begun(pod: Object | None) -> bool:
    """Whether the training has, or never will in this pod."""
    failed = (_state(pod, CODE_CONTAINER).get("terminated") or {}).get("exitCode")
    return _speaking(pod) == CONTAINER or bool(failed)


def _state(pod: Object | None, container: str) -> Object:
    status = (pod or {}).get("status") or {}
    known = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return next((s.get("state") or {} for s in known if s["name"] == container), {})


def _phase(run: Object) -> str:
    return str((run.get("status") or {}).get("phase", "Pending"))


def _no_pod(run: Object) -> str:
    name, status = run["metadata"]["name"], run.get("status") or {}
    if _phase(run) in _ENDED:
        return f"the pods of {name} are gone, and their logs with them. The run ended: {status.get('message', '')}"
    return f"{name} has no pod yet: {status.get('message') or _phase(run)}. --follow waits for it"

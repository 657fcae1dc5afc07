"""Carries a plan out: children, then one status write, then the annotation, then the Events."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Final

from slipway.api.common import rfc3339
from slipway.kube.client import Kube
from slipway.kube.drift import differs
from slipway.kube.objects import EVENTS, Manifest, Resource, resource_of
from slipway.kube.plan import Apply, Create, Delete, Event, Plan

REPORTER: Final = "slipway.dev/operator"
NOTE_LIMIT: Final = 1024
"""Bytes of an Event's note (events.k8s.io/v1)."""


async def act(kube: Kube, obj: Manifest, plan: Plan, now: datetime, instance: str) -> int:
    """Carry out a plan for one object; returns the number of writes (Events not counted).

    Raises:
        Conflict: something changed since it was observed; nothing after that write was done.
        Refused: the API server will not take a child.
    """
    writes = 0
    for change in plan.changes:
        match change:
            case Apply(manifest, live, guarded):
                if live is not None and not differs(manifest, live):
                    continue
                await kube.apply(manifest, live if guarded else None)
            case Create(manifest):
                await kube.create(manifest)
            case Delete(leaving=True):
                continue
            case Delete(resource, namespace, name, uid):
                await kube.delete(resource, namespace, name, uid)
        writes += 1
    resource = resource_of(obj)
    if plan.status is not None:
        status = plan.status.wire()
        if status != obj.get("status", {}):
            obj = await kube.write_status(resource, obj, status)
            writes += 1
    for key, value in (plan.remove_annotations or {}).items():
        await kube.remove_annotation(resource, obj, key, value)
        writes += 1
    for event in plan.events:
        await kube.post_event(event_manifest(resource, obj, event, now, instance))
    return writes


def event_manifest(resource: Resource, obj: Manifest, event: Event, now: datetime, instance: str) -> dict[str, Any]:
    """The Event object. Its name is made of what it says and of the object's newest version: a decision that is
    carried out again after a crash at the very same state makes no second Event."""
    meta = obj["metadata"]
    told = f"{meta['uid']} {meta.get('resourceVersion')} {event.reason} {event.message}"
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {
            "name": f"{meta['name'][:200]}.{hashlib.sha256(told.encode()).hexdigest()[:16]}",
            "namespace": meta["namespace"],
        },
        "eventTime": rfc3339(now).replace("Z", f".{now.microsecond:06d}Z"),
        "type": event.type,
        "reason": event.reason,
        "action": "Reconcile",
        "note": event.message.encode()[:NOTE_LIMIT].decode(errors="ignore"),
        "regarding": {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
            "resourceVersion": meta.get("resourceVersion", ""),
        },
        "reportingController": REPORTER,
        "reportingInstance": instance[:128],
    }

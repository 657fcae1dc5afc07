"""What ``decide`` answers. Pure data; ``act.py`` carries it out.

The order is fixed and is what makes a crash at any write harmless: children in the order given, then one status
write, then the annotation, then the Events. Each child's write is such that doing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slipway.api.common import Model
from slipway.kube.objects import Manifest, Resource


@dataclass(frozen=True)
class Apply:
    """Server-side apply of a child, only if the live object differs from it.

    ``live`` is the object as it was observed (None: it was not there). Where ``guarded``, the write is for that object
    in that state alone and fails with a conflict if somebody changed or deleted it; the pass then ends and begins anew.
    """

    manifest: Manifest
    live: Manifest | None
    guarded: bool = False


@dataclass(frozen=True)
class Create:
    """POST of an object that is never changed afterwards. It existing already is no error: the next pass sees it."""

    manifest: Manifest


@dataclass(frozen=True)
class Delete:
    """Delete one object by name and uid (background propagation). It being gone already is no error.

    One that is ``leaving`` was deleted before, and somebody's finalizer holds it (a person's ``--cascade=foreground``,
    a gateway's controller): it is not deleted again, as a pass that writes is followed by another one at once.
    """

    resource: Resource
    namespace: str
    name: str
    uid: str
    leaving: bool = False


Change = Apply | Create | Delete


def delete(resource: Resource, live: Manifest) -> Delete:
    """The end of an object as it was observed."""
    meta = live["metadata"]
    return Delete(resource, meta["namespace"], meta["name"], meta["uid"], leaving="deletionTimestamp" in meta)


@dataclass(frozen=True)
class Event:
    """An Event about the reconciled object, posted only if the status write of its pass succeeded."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """Everything one pass wants done.

    Attributes:
        changes: children to write or delete, in this order.
        status: the whole new status; None leaves it as it is. Written only if it differs from the observed one.
        remove_annotations: annotations of the reconciled object to remove, each only while it has this value.
        events: what to tell, once per decision.
        again: seconds until the next look; None: only when something changes.
    """

    changes: tuple[Change, ...] = ()
    status: Model | None = None
    remove_annotations: Mapping[str, str] | None = None
    events: tuple[Event, ...] = ()
    again: float | None = None

    def describe(self) -> dict[str, Any]:
        """For the log: what kind of things the pass wants."""
        return {
            "changes": [type(c).__name__ for c in self.changes],
            "events": [str(e.reason) for e in self.events],
            "again": self.again,
        }

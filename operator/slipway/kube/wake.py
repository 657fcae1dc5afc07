"""Who is to be looked at when something happens: from Kopf's events to keys in queues.

Nothing here decides anything. A wake-up too many costs one pass that finds nothing to do; one that is lost (the
process was down) is made good by the list at the start and by the slow resync.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import kopf

from slipway.kube.objects import Key, Manifest, Resource

Wake = Callable[[Key], None]
React = Callable[[Manifest, bool], None]
"""Called with the object and whether it was deleted."""


def watch(registry: kopf.OperatorRegistry, resource: Resource, react: React, *, name: str) -> None:
    """Call ``react`` for every event of a kind.

    Group, version and plural are always given: by its bare name, ``deployments`` would mean two kinds at once and
    Kopf would serve neither.
    """

    @kopf.on.event(resource.group, resource.version, resource.plural, id=name, registry=registry)
    async def handler(event: kopf.RawEvent, **_: Any) -> None:
        react(event["object"], event["type"] == "DELETED")


def wake_by_label(wake: Wake, label: str, **others: str) -> React:
    """A reaction that wakes the object whose name stands in a label, if the other labels have these values."""

    def react(obj: Manifest, _deleted: bool) -> None:
        labels = obj["metadata"].get("labels") or {}
        if label in labels and all(labels.get(k) == v for k, v in others.items()):
            wake(Key(obj["metadata"]["namespace"], labels[label]))

    return react


class References:
    """Which objects (``source``) name which other things (``target``): the way back, rebuilt from the cluster.

    >>> index = References()
    >>> index.update(Key("team", "digits"), [("ModelVersion", "team", "digits-v1")])
    >>> sorted(index.sources(("ModelVersion", "team", "digits-v1")))
    [Key(namespace='team', name='digits')]
    >>> index.update(Key("team", "digits"), [])
    >>> index.sources(("ModelVersion", "team", "digits-v1"))
    frozenset()
    """

    def __init__(self) -> None:
        self._targets: dict[Key, frozenset[Hashable]] = {}
        self._sources: dict[Hashable, set[Key]] = {}

    def update(self, source: Key, targets: Iterable[Hashable]) -> None:
        """What this source names now, instead of what it named before."""
        new, old = frozenset(targets), self._targets.pop(source, frozenset())
        if new:
            self._targets[source] = new
        for target in old - new:
            left = self._sources[target]
            left.discard(source)
            if not left:
                del self._sources[target]
        for target in new - old:
            self._sources.setdefault(target, set()).add(source)

    def targets(self, source: Key) -> frozenset[Hashable]:
        """What this source names."""
        return self._targets.get(source, frozenset())

    def sources(self, target: Hashable) -> frozenset[Key]:
        """Who names this target."""
        return frozenset(self._sources.get(target, ()))

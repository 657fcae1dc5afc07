"""Objects that were read a moment ago, for questions whose answer may be a few seconds old.

A ConfigMap that nobody watches (a watch of all ConfigMaps of a cluster would cost more than it tells) and that every
object of a namespace asks for: ten thousand versions read it once in a while instead of ten thousand times.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from slipway.kube.client import Reader
from slipway.kube.objects import Manifest, Resource


class Recent:
    """``seconds`` is how old an answer may be."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._known: dict[tuple[Resource, str, str], tuple[float, Manifest | None]] = {}

    async def get(self, kube: Reader, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """One object as it was at most so many seconds ago; None where there was none of that name."""
        key, now = (resource, namespace, name), self._clock()
        if known := self._known.get(key):
            since, found = known
            if now - since < self._seconds:
                return found
        self._known = {k: entry for k, entry in self._known.items() if now - entry[0] < self._seconds}
        found = await kube.get(resource, namespace, name)
        self._known[key] = (now, found)
        return found

"""A work queue keyed by object: each key is worked on by one worker at a time, and once however often it was added.

The same idea as client-go's rate-limiting work queue (``k8s.io/client-go/util/workqueue``), which level-triggered
controllers stand on: events only say *which* object to look at, never what happened to it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable
from typing import Final

from slipway.kube.objects import Key

BACKOFF_FIRST: Final = 0.5
"""Seconds until the first retry."""
BACKOFF_MOST: Final = 300.0
"""Seconds that a retry waits at most."""


class WorkQueue:
    """Keys to look at. Not safe for threads: everything runs on one event loop."""

    def __init__(self, jitter: random.Random | None = None, group: Callable[[Key], Hashable] = lambda key: key) -> None:
        """
        Args:
            group: keys of one group are worked on one after another; by itself, each key is a group.
        """
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        """In ``_ready``, each once."""
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        """Added while a worker had them."""
        self._timers: dict[Key, tuple[float, asyncio.TimerHandle]] = {}
        self._failures: dict[Key, int] = {}
        self._group = group
        self._busy: set[Hashable] = set()
        """Groups of which a worker has a key."""
        self._held: dict[Hashable, list[Key]] = {}
        """Keys whose group is busy: in ``_waiting`` still, and out of ``_ready``."""
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads retries, guards nothing

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Look at this key as soon as a worker is free."""
        if timer := self._timers.pop(key, None):
            timer[1].cancel()
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: Key, delay: float) -> None:
        """Look at this key after so many seconds, or earlier if it is added meanwhile. The earliest wish counts."""
        if delay <= 0:
            self.add(key)
            return
        if key in self._waiting:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        if timer := self._timers.get(key):
            if timer[0] <= due:
                return
            timer[1].cancel()
        self._timers[key] = (due, loop.call_at(due, self.add, key))

    async def take(self) -> Key:
        """The next key; its worker must call ``done`` or ``failed``."""
        while (group := self._group(key := await self._ready.get())) in self._busy:
            self._held.setdefault(group, []).append(key)
        self._busy.add(group)
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def done(self, key: Key, again: float | None = None) -> None:
        """The pass went well; look again after ``again`` seconds, if given."""
        self._failures.pop(key, None)
        self._release(key, again)

    def failed(self, key: Key, most: float = BACKOFF_MOST) -> float:
        """The pass failed: look again after an exponential back-off with jitter, of at most so many seconds or a
        quarter more; returns the seconds."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        backoff: float = min(most, BACKOFF_FIRST * 2 ** min(count - 1, 16))
        delay = backoff * self._jitter.uniform(0.75, 1.25)
        self._release(key, delay)
        return delay

    def _release(self, key: Key, again: float | None) -> None:
        self._working.discard(key)
        group = self._group(key)
        self._busy.discard(group)
        for held in self._held.pop(group, ()):
            self._ready.put_nowait(held)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif again is not None:
            self.add_after(key, again)

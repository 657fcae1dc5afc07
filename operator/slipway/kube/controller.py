"""Observe, decide, act: the loop that every kind shares."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, Protocol, TypeVar

from slipway.api.reasons import Reason
from slipway.kube.act import act, event_manifest
from slipway.kube.client import Conflict, Kube, KubeError, NamespaceEnds, Reader, Refused
from slipway.kube.fence import LeadershipLost
from slipway.kube.objects import Key, Manifest, Resource
from slipway.kube.plan import Event, Plan
from slipway.kube.workqueue import BACKOFF_MOST, WorkQueue

logger = logging.getLogger(__name__)

PASSING: Final = frozenset({0, 429, 502, 503, 504})
"""What an API server answers that is away (0: nothing), starts, or has too much to do."""

O = TypeVar("O")  # noqa: E741 - the room's Observed

RETRY_MOST: Final = 60.0
"""Seconds to the next try, at most, where what stood in the way (a quota, a busy API server) may be gone, and nothing
that we watch says so."""


@dataclass(frozen=True)
class Room(Generic[O]):
    """One kind's three doors.

    Attributes:
        resource: the kind that is reconciled.
        observe: reads the world; None where the object is gone.
        decide: every choice, pure.
        subject: the reconciled object as it was observed.
        refused: what to tell where the API server refused a child, with its sentence: a plan without changes; None
            where there is nothing to tell in the status. Pure.
        measure: is told what each pass that succeeded wanted, or None once the object is gone, for the metrics.
        group: objects of one group are looked at one after another (each by itself is one of its own): what a pass
            reads of the others stays true until it has written.
    """

    resource: Resource
    observe: Callable[[Reader, Key], Awaitable[O | None]]
    decide: Callable[[O, datetime], Plan]
    subject: Callable[[O], Manifest]
    refused: Callable[[O, str, datetime], Plan | None]
    measure: Callable[[Key, Plan | None], None] | None = None
    group: Callable[[Key], Hashable] = lambda key: key


class Watcher(Protocol):
    """Is told about every pass (metrics)."""

    def passed(self, resource: Resource, outcome: str, seconds: float, writes: int) -> None:
        """``outcome`` is ok, gone, ending, conflict, refused or error."""


class Controller(Generic[O]):
    """Works the keys of one kind off its queue."""

    def __init__(
        self,
        room: Room[O],
        kube: Kube,
        queue: WorkQueue,
        *,
        instance: str,
        workers: int,
        resync: float,
        watcher: Watcher,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.room = room
        self.queue = queue
        self._kube = kube
        self._instance = instance
        self._workers = workers
        self._resync = resync
        self._watcher = watcher
        self._clock = clock
        self._told: dict[Key, float] = {}
        """When it was told last that a write was refused, on the loop's clock."""

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self.queue.take()
            await self.one(key)

    async def one(self, key: Key) -> None:
        """One pass over one object. An error is logged and tried again later; only what ends the leader is raised."""
        begun = asyncio.get_running_loop().time()
        outcome, writes = "ok", 0
        extra: dict[str, Any] = {"kind": self.room.resource.kind, "object": str(key)}
        try:
            again, writes, outcome = await self._pass(key, extra)
            self.queue.done(key, again)
        except Conflict:
            # Not an error: the world moved between observing and writing. Look again at once.
            outcome = "conflict"
            self.queue.done(key, 0)
        except NamespaceEnds as error:
            # Not an error either, and nothing to be done: the next pass finds the object gone.
            outcome = "ending"
            extra["retry_in"] = round(self.queue.failed(key), 1)
            logger.info("the namespace is being deleted: %s", error, extra=extra)
        except Refused as error:
            outcome = "refused"
            extra["retry_in"] = round(self.queue.failed(key, RETRY_MOST), 1)
            # 403: a quota or a policy, which is for a person to change. Else what we wrote is wrong.
            level = logging.WARNING if error.status == 403 else logging.ERROR
            logger.log(level, "the API server refused a request: %s", error, extra=extra)
        except KubeError as error:
            outcome = "error"
            # Away, or too busy: it comes back, soon. Anything else is for a person to look at.
            passing = error.status in PASSING
            extra["retry_in"] = round(self.queue.failed(key, RETRY_MOST if passing else BACKOFF_MOST), 1)
            level = logging.WARNING if passing else logging.ERROR
            logger.log(level, "the pass failed: %s", error, extra=extra)
        except (asyncio.CancelledError, LeadershipLost):
            raise
        except Exception:
            outcome = "error"
            extra["retry_in"] = round(self.queue.failed(key), 1)
            logger.exception("the pass failed", extra=extra)
        finally:
            self._watcher.passed(self.room.resource, outcome, asyncio.get_running_loop().time() - begun, writes)

    async def _pass(self, key: Key, extra: dict[str, Any]) -> tuple[float | None, int, str]:
        observed = await self.room.observe(self._kube, key)
        if observed is None:
            self._told.pop(key, None)
            self._measure(key, None)
            return None, 0, "gone"
        now = self._clock()
        plan = self.room.decide(observed, now)
        subject = self.room.subject(observed)
        try:
            writes = await act(self._kube, subject, plan, now, self._instance)
        except Refused as error:
            await self._tell(key, observed, error, now)
            raise
        self._told.pop(key, None)
        self._measure(key, plan)
        if writes:
            logger.info("acted", extra={**extra, **plan.describe(), "writes": writes})
            return 0, writes, "ok"  # what was written is observed before anything else is decided
        return min(plan.again, self._resync) if plan.again is not None else self._resync, 0, "ok"

    def _measure(self, key: Key, plan: Plan | None) -> None:
        if self.room.measure is not None:
            self.room.measure(key, plan)

    async def _tell(self, key: Key, observed: O, error: Refused, now: datetime) -> None:
        """Once in a while only: a sentence that is another one each time (an admission webhook with a number of its
        own) would be a write each time, which wakes this very key."""
        clock = asyncio.get_running_loop().time()
        if clock - self._told.get(key, -RETRY_MOST) < RETRY_MOST:
            return
        self._told[key] = clock
        await tell_refusal(self._kube, self.room, observed, error, now, self._instance)


async def tell_refusal(kube: Kube, room: Room[O], observed: O, error: Refused, now: datetime, instance: str) -> None:
    """Have a person see the API server's sentence (a quota, an admission policy): in the status, and in an Event.

    The pass that was refused wrote no status, and its retries write none. Where the status cannot be written either,
    an Event is all there is; its name holds what it says, so that the retries do not repeat it.
    """
    subject = room.subject(observed)
    sentence = f"the API server refused a write: {error}"
    plan = room.refused(observed, sentence, now)
    try:
        if plan is not None:
            await act(kube, subject, plan, now, instance)
            return
    except KubeError as unwritten:
        logger.info("the status cannot say so either: %s", unwritten)
    event = Event("Warning", Reason.WRITE_REFUSED, sentence)
    with contextlib.suppress(KubeError):
        await kube.post_event(event_manifest(room.resource, subject, event, now, instance))

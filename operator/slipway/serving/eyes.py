"""Looks at the counters of both sides where something depends on them. Reads, and chooses nothing.

Whether to look follows from the recorded facts alone (``Situation.watching``); the clock here only keeps a pass that
comes early from asking again. No pass waits for a source that is slow: the question goes on without it, and the pass
that comes when it is answered finds the answer here. What counts is what is recorded: an answer that an operator that
died had waited for was never there, and the next one shows the same counters and more (docs/design/0021).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from slipway.api.common import parse_time
from slipway.api.deployment import AnalysisMetric
from slipway.kube.objects import Key, key_of
from slipway.serving.analysis.look import (
    DISAGREEMENT,
    ERRORS,
    NOT_COMPARED,
    PODS,
    REQUESTS,
    SIDES,
    Counts,
    Look,
    Side,
    due,
    sources,
)
from slipway.serving.analysis.pods import PodCounters
from slipway.serving.analysis.prometheus import Names, PrometheusCounters
from slipway.serving.children import child_name
from slipway.serving.observed import Observed
from slipway.serving.rollout.situation import Situation

PATIENCE: Final = 0.3
"""Seconds that a pass waits for an answer: longer than a pod or a Prometheus that is well takes. It holds a worker that
others, and this Deployment's own abort, need."""
FORGET: Final = timedelta(minutes=1)
"""After which an answer that nobody came for is dropped: its Deployment is gone."""

_ALWAYS: Final = (REQUESTS, ERRORS, DISAGREEMENT, NOT_COMPARED)
"""What pods count whatever is judged."""

_Answers = tuple[dict[Side, dict[str, Counts]], str]


class Eyes(Protocol):
    """Who looks."""

    async def look(self, seen: Observed) -> Look | None:
        """What the counters say; None where nothing depends on them, or it is too early."""


def _now() -> datetime:
    return datetime.now(UTC)


def _nobody(_key: Key) -> None:
    """Wakes nobody: the next pass comes by itself."""


@dataclass
class _Asked:
    """A question to one source about one Deployment.

    Attributes:
        task: the question under way; None once its answer was taken.
        slow: it was not answered within ``PATIENCE``: the next one is not waited for.
        trouble: what the last answer said of who could not be asked.
    """

    question: object
    at: datetime
    task: asyncio.Task[_Answers] | None = None
    slow: bool = False
    trouble: str = ""


@dataclass
class _Source:
    """Where answers come from, one question of each Deployment at a time."""

    asked: dict[Key, _Asked] = field(default_factory=dict)

    async def answer(
        self,
        key: Key,
        question: object,
        ask: Callable[[], Coroutine[Any, Any, _Answers]],
        now: datetime,
        wake: Callable[[Key], None],
    ) -> tuple[datetime, dict[Side, dict[str, Counts]]] | None:
        """The answer, and when it was asked for; None while it is not there."""
        self._forget(now)
        last = self.asked.get(key)
        if last is None or last.task is None or last.question != question:
            if last is not None and last.task is not None:
                last.task.cancel()  # about other pods, or another candidate
            last = await self._ask(key, _Asked(question, now), last, asyncio.create_task(ask()), wake)
        task = last.task
        if task is None or not task.done():
            return None
        last.task = None  # taken, also where it is an error: that one fails this pass, and the next one asks anew
        counts, last.trouble = task.result()
        return last.at, counts

    async def _ask(
        self,
        key: Key,
        made: _Asked,
        before: _Asked | None,
        task: asyncio.Task[_Answers],
        wake: Callable[[Key], None],
    ) -> _Asked:
        made.task, patience = task, PATIENCE
        if before is not None:
            made.trouble, patience = before.trouble, 0.0 if before.slow else PATIENCE
        self.asked[key] = made
        loop = asyncio.get_running_loop()
        begun = loop.time()

        def answered(_: object) -> None:
            made.slow = loop.time() - begun > PATIENCE

        task.add_done_callback(answered)
        made.slow = True
        await asyncio.wait({task}, timeout=patience)
        if not task.done():
            task.add_done_callback(lambda done: None if done.cancelled() else wake(key))
        return made

    def trouble(self, key: Key) -> str:
        """What the last answer said; a question that is under way changes nothing about it."""
        return self.asked[key].trouble if key in self.asked else ""

    def _forget(self, now: datetime) -> None:
        for key in [key for key, asked in self.asked.items() if now - asked.at > FORGET]:
            if (task := self.asked.pop(key).task) is not None:
                task.cancel()


@dataclass
class Counting:
    """Asks the pods, and Prometheus where the spec says so, at the same time.

    ``wake`` is told of a Deployment whose answer came when no pass waited for it any more.
    """

    pods: PodCounters
    prometheus: PrometheusCounters | None = None
    clock: Callable[[], datetime] = field(default=_now)
    wake: Callable[[Key], None] = field(default=_nobody)
    _of_pods: _Source = field(default_factory=_Source, init=False)
    _of_prometheus: _Source = field(default_factory=_Source, init=False)

    async def look(self, seen: Observed) -> Look | None:
        now, before = self.clock(), seen.status.looked
        if not Situation(seen, now).watching or not due(before, now):
            return None
        analysis = seen.spec.analysis
        metrics = analysis.metrics if analysis else []
        theirs = metrics if analysis and analysis.source == "Prometheus" and self.prometheus else []
        own = [m for m in metrics if m.total is None] if analysis and analysis.source == "Pods" else []
        key, addresses = key_of(seen.object), {side: _addresses(seen, side) for side in SIDES}
        names = {side: _names(seen, side) for side in SIDES}
        # The pods are asked in any case: requests and disagreement stand nowhere else.
        pods, series = await asyncio.gather(
            self._of_pods.answer(key, (addresses, own), lambda: self.pods.read(addresses, own), now, self.wake),
            self._of_prometheus.answer(
                key, (names, theirs), lambda: self._read_prometheus(names, theirs), now, self.wake
            ),
        )
        judged = {m.name for m in theirs}
        counts: dict[Side, dict[str, Counts]] = {}
        silent: dict[Side, frozenset[str]] = {}
        for side in SIDES:
            mine = _without(pods[1].get(side, {}) if pods else {}, judged)
            other = series[1].get(side, {}) if series else {}
            counts[side] = {**mine, **other}
            # Which pods there are is known, so one that is gone is not waited for. A series that Prometheus does not
            # show (its pod could not be scraped) may come back or not: only so many are kept.
            absent = sorted(sources(before, side, judged) - set(other))
            silent[side] = frozenset({*(set(addresses[side]) - set(mine)), *(absent[:PODS] if series else absent)})
        trouble = "; ".join(said for of in (self._of_prometheus, self._of_pods) if (said := of.trouble(key)))
        # The mark of the traffic is what the pods said: a look without them does not move it.
        at = pods[0] if pods else parse_time(before.at) if before else now
        return Look(at, counts, trouble, silent, {*_ALWAYS, *(m.name for m in metrics)})

    async def _read_prometheus(self, names: Mapping[Side, Names], metrics: Sequence[AnalysisMetric]) -> _Answers:
        if not metrics or self.prometheus is None:
            return {}, ""
        return await self.prometheus.read(names, metrics)


def _without(counts: Mapping[str, Counts], metrics: set[str]) -> dict[str, Counts]:
    return {source: {k: v for k, v in found.items() if k not in metrics} for source, found in counts.items()}


def _version(seen: Observed, side: Side) -> str | None:
    found = seen.status.stable if side == "Stable" else seen.status.candidate
    return found.model_version if found else None


def _addresses(seen: Observed, side: Side) -> dict[str, str]:
    """IPs of the side's pods by name: the first ones by name, so that they are the same the next time."""
    found = {
        str(pod["metadata"]["name"]): str(pod["status"]["podIP"])
        for pod in seen.of(_version(seen, side)).pods
        if pod.get("status", {}).get("phase") == "Running" and pod["status"].get("podIP")
    }
    return dict(sorted(found.items())[:PODS])


def _names(seen: Observed, side: Side) -> Names:
    version = _version(seen, side) or ""
    return {
        "namespace": seen.namespace,
        "deployment": seen.name,
        "modelVersion": version,
        "workload": child_name(seen.name, version),
    }

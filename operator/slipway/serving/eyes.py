"""Looks at the counters of both sides where something depends on them. Reads, and chooses nothing.

Whether to look follows from the recorded facts alone (``Situation.watching``); the clock here only keeps a pass that
comes early from asking again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from slipway.serving.analysis.look import PODS, SIDES, Look, Side, due
from slipway.serving.analysis.pods import PodCounters
from slipway.serving.analysis.prometheus import Names, PrometheusCounters
from slipway.serving.children import child_name
from slipway.serving.observed import Observed
from slipway.serving.rollout.situation import Situation


class Eyes(Protocol):
    """Who looks."""

    async def look(self, seen: Observed) -> Look | None:
        """What the counters say; None where nothing depends on them, or it is too early."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Counting:
    """Asks the pods, and Prometheus where the spec says so."""

    pods: PodCounters
    prometheus: PrometheusCounters | None = None
    clock: Callable[[], datetime] = field(default=_now)

    async def look(self, seen: Observed) -> Look | None:
        now = self.clock()
        if not Situation(seen, now).watching or not due(seen.status.looked, now):
            return None
        analysis = seen.spec.analysis
        metrics = analysis.metrics if analysis else []
        own = [m for m in metrics if m.total is None] if analysis and analysis.source == "Pods" else []
        # The pods are asked in any case: requests and disagreement stand nowhere else.
        counts, trouble = await self.pods.read({side: _addresses(seen, side) for side in SIDES}, own)
        if analysis and analysis.source == "Prometheus" and self.prometheus:
            found, why = await self.prometheus.read({side: _names(seen, side) for side in SIDES}, metrics)
            trouble = "; ".join(said for said in (why, trouble) if said)
            theirs = {m.name for m in metrics}
            for side in SIDES:
                ours = {s: {k: v for k, v in c.items() if k not in theirs} for s, c in counts.get(side, {}).items()}
                counts[side] = {**ours, **found.get(side, {})}
        return Look(now, counts, trouble)


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

"""The operator's own metrics and logs."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from slipway.api.common import parse_time
from slipway.api.dataset import Checked, DatasetStatus
from slipway.api.deployment import DeploymentStatus, MetricAnalysis
from slipway.kube.objects import Key, Resource
from slipway.kube.plan import Plan

ELECTION: Final = "kubernetes.aio.leaderelection"
QUIET_SECONDS: Final = 10.0
"""For so long the reason why something is tried again is not repeated."""
_PLAIN: Final = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime"}


class Metrics:
    """What ``/metrics`` says. ``passed`` is told about every pass by the controllers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._passes = Counter(
            "slipway_reconcile_total", "Passes over an object", ["kind", "outcome"], registry=self.registry
        )
        self._seconds = Histogram("slipway_reconcile_seconds", "How long a pass took", ["kind"], registry=self.registry)
        self._writes = Counter(
            "slipway_writes_total", "Writes to the API server, Events not counted", ["kind"], registry=self.registry
        )
        self.leader = Gauge("slipway_leader", "1 while this replica holds the Lease", registry=self.registry)
        self._queue = Gauge(
            "slipway_queue_length", "Objects that wait to be looked at", ["kind"], registry=self.registry
        )
        self.rollouts = Rollouts(self.registry)
        self.datasets = Datasets(self.registry)

    def passed(self, resource: Resource, outcome: str, seconds: float, writes: int) -> None:
        """One pass ended."""
        self._passes.labels(resource.kind, outcome).inc()
        self._seconds.labels(resource.kind).observe(seconds)
        if writes:
            self._writes.labels(resource.kind).inc(writes)

    def queue(self, resource: Resource, length: Callable[[], int]) -> None:
        """Report the length of a queue whenever it is asked for."""
        self._queue.labels(resource.kind).set_function(length)


@dataclass(frozen=True)
class _Rollout:
    """What is shown of one Deployment."""

    weights: tuple[tuple[str, int], ...]
    analysis: tuple[MetricAnalysis, ...]


class Rollouts(Collector):
    """What was decided about rollouts, as the last pass over each Deployment wrote it down; nothing is decided here.

    There are as many series as Deployments and metrics that exist: those of a Deployment that is gone are forgotten.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._last: dict[Key, _Rollout] = {}
        self._verdicts = Counter(
            "slipway_rollout_verdicts_total",
            "What was decided, by the reason of its Event",
            ["verdict"],
            registry=registry,
        )
        registry.register(self)

    def saw(self, key: Key, plan: Plan | None) -> None:
        """A pass ended; ``plan`` is None where the Deployment is gone."""
        if plan is None:
            self._last.pop(key, None)
            return
        for event in plan.events:
            self._verdicts.labels(event.reason).inc()
        if isinstance(plan.status, DeploymentStatus):
            self._last[key] = _shown(plan.status)

    def collect(self) -> Iterator[Metric]:
        """The families, for prometheus-client."""
        whose = ["namespace", "deployment"]
        weight = GaugeMetricFamily("slipway_rollout_weight", "Percent of the traffic by role", labels=[*whose, "role"])
        evidence = GaugeMetricFamily(
            "slipway_analysis_evidence",
            "E-value against doing no harm, or doing harm",
            labels=[*whose, "metric", "kind"],
        )
        needed = GaugeMetricFamily(
            "slipway_analysis_needed", "The e-value at which a verdict is given", labels=[*whose, "metric"]
        )
        seen, bad = (
            GaugeMetricFamily(name, meaning, labels=[*whose, "metric", "role"])
            for name, meaning in (
                ("slipway_analysis_requests", "Requests that were judged since the step began"),
                ("slipway_analysis_bad_requests", "The bad ones among them"),
            )
        )
        for key, last in sorted(self._last.items()):
            mine = [key.namespace, key.name]
            for role, percent in last.weights:
                weight.add_metric([*mine, role], percent)
            for entry in last.analysis:
                needed.add_metric([*mine, entry.metric], float(entry.needed))
                for kind, value in (("harm", entry.evidence.harm), ("no_harm", entry.evidence.no_harm)):
                    evidence.add_metric([*mine, entry.metric, kind], float(value))
                for role, tally in (("stable", entry.stable), ("candidate", entry.candidate)):
                    seen.add_metric([*mine, entry.metric, role], tally.n)
                    bad.add_metric([*mine, entry.metric, role], tally.bad)
        yield from (weight, evidence, needed, seen, bad)


def _shown(status: DeploymentStatus) -> _Rollout:
    weights, candidate = status.weights, status.candidate
    roles = [("stable", weights.stable)] if weights else []
    if weights and candidate:
        roles += [("candidate", weights.candidate), ("shadow", weights.mirror)]
    return _Rollout(tuple(roles), tuple(status.analysis) if candidate else ())


class Datasets(Collector):
    """The verdicts on data, as the last pass over each Dataset wrote them down. A Dataset that is gone is forgotten."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._last: dict[Key, Checked] = {}
        registry.register(self)

    def saw(self, key: Key, plan: Plan | None) -> None:
        """A pass ended; ``plan`` is None where the Dataset is gone."""
        if plan is None:
            self._last.pop(key, None)
        elif isinstance(plan.status, DatasetStatus) and plan.status.checked is not None:
            self._last[key] = plan.status.checked

    def collect(self) -> Iterator[Metric]:
        """The families, for prometheus-client."""
        whose = ["namespace", "dataset"]
        passed = GaugeMetricFamily("slipway_dataset_passed", "1 where the newest check passed, else 0", labels=whose)
        at = GaugeMetricFamily(
            "slipway_dataset_checked_timestamp_seconds", "When the newest check ended, in Unix time", labels=whose
        )
        for key, checked in sorted(self._last.items()):
            mine = [key.namespace, key.name]
            passed.add_metric(mine, checked.passed)
            at.add_metric(mine, parse_time(checked.at).timestamp())
        yield from (passed, at)


def http_app(metrics: Metrics, ready: Callable[[], bool]) -> web.Application:
    """``/healthz``: the event loop turns. ``/readyz``: the watches stand. ``/metrics``."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return (
            web.Response(text="ok\n") if ready() else web.Response(status=503, text="the watches are not set up yet\n")
        )

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scrape)])
    return app


class KeyValues(logging.Formatter):
    """A constant message, then ``key=value`` for each of the record's extras."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        extras = " ".join(f"{k}={v}" for k, v in _extras(record).items())
        return f"{text} {extras}" if extras else text


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TriedAgain(logging.Filter):
    """What libraries tell of a try that failed and is repeated is no error yet, and has no need of a traceback. An API
    server that is away is told of by each of our watches at each try: once in a while is enough."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be told; one of a try that is repeated is changed."""
        said = record.getMessage()
        if not (record.name.startswith(ELECTION) or (record.name.startswith("kopf") and "; will retry: " in said)):
            return True
        because = f": {record.exc_info[1]}" if record.exc_info else ""
        # aiohttp's connection errors show all of their connection's settings.
        said = re.sub(r"\w+\(ConnectionKey\(.*", "no connection", said) + because
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        record.msg, record.args, record.exc_info, record.exc_text = said, (), None, None
        why = said.rpartition(" -> ")[2]
        recent = {reason: at for reason, at in self._told.items() if record.created - at < QUIET_SECONDS}
        self._told = {why: record.created, **recent}
        return why not in recent


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {k: v for k, v in record.__dict__.items() if k not in _PLAIN and not k.startswith(("_", "k8s_", "settings"))}


def set_up_logging(style: str, level: str) -> None:
    """Logs go to stderr, in one of the two styles."""
    handler = logging.StreamHandler(sys.stderr)
    plain = KeyValues("%(asctime)s %(levelname)-7s %(message)s")
    handler.setFormatter(JsonLines() if style == "json" else plain)
    handler.addFilter(TriedAgain())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Kopf tells of each event it hands over; that is our queue's business.
    logging.getLogger("kopf").setLevel(max(logging.getLevelName(level), logging.WARNING))

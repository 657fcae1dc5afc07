"""What a rollout's evidence was, seen from outside: the pods' counters and the route, some twenty times a second.

The counters are read through the API server (``pods/NAME:9091/proxy/metrics``), so nothing must be able to reach a pod.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from slipway.api.common import parse_time
from slipway.api.deployment import AnalysisMetric, Tally
from slipway.contract import METRICS_PORT
from slipway.kube.objects import DEPLOYMENTS, HTTP_ROUTES, PODS
from slipway.serving import children
from slipway.serving.analysis import counters
from slipway.serving.analysis.look import Counts, Side
from tests.support.api_server import Api, Object, Refusal
from tests.support.e2e import Tenant
from tests.support.load import Load

EVERY = 0.05
VERDICT = 60.0
"""Seconds after which a verdict that did not come is one that never came. The promise is 2 s, but a machine that has
ten times as much to do as it can keeps no promise of time, and a test that fails there says nothing: what was measured
is printed (docs/rollouts-measured.md)."""


@dataclass(frozen=True)
class Sample:
    """Counters by side and pod, at a ``time.monotonic()``."""

    at: float
    counts: dict[Side, dict[str, Counts]]


@dataclass
class Watch:
    """Looks in the background, for a ``with`` block.

    Attributes:
        samples: the counters.
        weights: (when, candidate's weight, percent mirrored) each time that they changed in the route.
        previews: (when, whether the route of the preview host name stands) each time that it changed.
        deaths: when a container of the candidate's was first seen to have ended, by what the kubelet wrote of its pod.
        statuses: (when, status) each time that it changed.
    """

    tenant: Tenant
    name: str
    stable: str
    candidate: str
    metrics: Sequence[AnalysisMetric] = ()
    samples: list[Sample] = field(default_factory=list)
    weights: list[tuple[float, int, int]] = field(default_factory=list)
    previews: list[tuple[float, bool]] = field(default_factory=list)
    deaths: list[float] = field(default_factory=list)
    statuses: list[tuple[float, Object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._again, args=each, daemon=True)
            for each in ((self._counters, EVERY), (self._traffic, EVERY), (self._ends, 4 * EVERY))
        ]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def taken_away(self) -> float:
        """When the route last gave the candidate less than before.

        Raises:
            AssertionError: it never did.
        """
        shares = [(at, weight + mirror) for at, weight, mirror in self.weights]
        found = [at for (_, before), (at, after) in itertools.pairwise(shares) if after < before]
        assert found, f"the candidate never lost traffic: {self.weights}"
        return found[-1]

    def preview_gone(self) -> float:
        """When the route of the preview host name went.

        Raises:
            AssertionError: it never did.
        """
        found = [at for (_, before), (at, after) in itertools.pairwise(self.previews) if before and not after]
        assert found, f"the preview never went: {self.previews}"
        return found[-1]

    def last_undecided(self, metric: str) -> int | None:
        """The candidate's bad requests at the last look that was not enough to give it up, by the status."""
        bad = None
        for _, status in self.statuses:
            if "abortedAt" in status.get("rollout", {}):
                break
            looked = status.get("looked", {})
            if metric in looked.get("metrics", ()):
                place = looked["metrics"].index(metric)
                rows = [c["counts"][place] for c in looked.get("counters", ()) if c["side"] == "Candidate"]
                bad = sum(int(text.partition("/")[2]) for text in rows if text != "-")
        return bad

    def between_looks(self) -> list[float]:
        """Seconds between the operator's looks, by the status."""
        at = dict.fromkeys(s["looked"]["at"] for _, s in self.statuses if "looked" in s)
        return [(parse_time(b) - parse_time(a)).total_seconds() for a, b in itertools.pairwise(at)]

    def earliest(self, metric: str) -> float | None:
        """The first moment at which the counters held more than at the last look that was not enough: evidence that
        would have been enough cannot have stood there before."""
        before = self.last_undecided(metric)
        if before is None:
            return None
        for sample in self.samples:
            if sum(c[metric].bad for c in sample.counts.get("Candidate", {}).values() if metric in c) > before:
                return sample.at
        return None

    def counted(self, side: Side, metric: str) -> dict[str, Tally]:
        """The last that was read of a metric, by pod."""
        made: dict[str, Tally] = {}
        for sample in self.samples:
            made |= {pod: counts[metric] for pod, counts in sample.counts.get(side, {}).items() if metric in counts}
        return made

    def messages(self) -> list[str]:
        """The sentences of status, each once."""
        return list(dict.fromkeys(status.get("message", "") for _, status in self.statuses))

    # ------------------------------------------------------------------------------------------- in the threads

    def _again(self, what: Any, every: float) -> None:
        api = Api(Path(self.tenant.world.environment["KUBECONFIG"]))
        while not self._stop.is_set():
            begun = time.monotonic()
            with suppress(Refusal, httpx.HTTPError, KeyError):
                what(api)
            self._stop.wait(max(0.0, every - (time.monotonic() - begun)))
        api.close()

    def _counters(self, api: Api) -> None:
        made: dict[Side, dict[str, Counts]] = {}
        at = time.monotonic()
        for side, pod in self._pods(api, at):
            with suppress(Refusal, httpx.HTTPError):
                path = f"{PODS.path(self.tenant.name, pod)}:{METRICS_PORT}/proxy/metrics"
                made.setdefault(side, {})[pod] = counters.read(api.text(path), self.metrics)
        self.samples.append(Sample(time.monotonic(), made))

    def _pods(self, api: Api, now: float) -> Iterator[tuple[Side, str]]:
        """The pods that run; they are looked for once a second."""
        known: tuple[float, list[tuple[Side, str]]] = getattr(self, "_known", (0.0, []))
        if now - known[0] > 1:
            sides: dict[str, Side] = {self.stable: "Stable", self.candidate: "Candidate"}
            found = api.list(PODS, self.tenant.name, "slipway.dev/role=serve")
            names = [
                (sides[pod["metadata"]["labels"]["slipway.dev/model-version"]], pod["metadata"]["name"])
                for pod in found
                if pod["status"].get("phase") == "Running"
            ]
            known = (now, names)
            self._known = known
        return iter(known[1])

    def _traffic(self, api: Api) -> None:
        route = api.get(HTTP_ROUTES, self.tenant.name, self.name)
        at = time.monotonic()
        if route is not None:
            rule = route["spec"]["rules"][0]
            weight = sum(b.get("weight", 1) for b in rule["backendRefs"] if b["name"].endswith(self.candidate))
            mirror = sum(
                f["requestMirror"].get("percent", 100) for f in rule.get("filters", ()) if "requestMirror" in f
            )
            if not self.weights or self.weights[-1][1:] != (weight, mirror):
                self.weights.append((at, weight, mirror))
        deployment = api.get(DEPLOYMENTS, self.tenant.name, self.name)
        if deployment is not None:
            if deployment["spec"]["strategy"]["type"] == "BlueGreen":
                preview = api.get(HTTP_ROUTES, self.tenant.name, children.preview_name(self.name)) is not None
                if not self.previews or self.previews[-1][1] != preview:
                    self.previews.append((time.monotonic(), preview))
            status = deployment.get("status", {})
            if not self.statuses or self.statuses[-1][1] != status:
                self.statuses.append((time.monotonic(), status))

    def _ends(self, api: Api) -> None:
        selector = f"slipway.dev/role=serve,slipway.dev/model-version={self.candidate}"
        if not self.deaths and any(map(_died, api.list(PODS, self.tenant.name, selector))):
            self.deaths.append(time.monotonic())


def _died(pod: Object) -> bool:
    """Whether a container of the pod has ended by itself; one that was told to stop has not."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    found = pod.get("status", {}).get("containerStatuses", ())
    return any(c.get("restartCount", 0) or "terminated" in c.get("state", {}) for c in found)


def timed(watch: Watch, metric: str, *, written: float | None = None) -> None:
    """Print how long it took from the evidence in the counters to the write that took the candidate's traffic away.

    Args:
        written: when that write was seen; by default the route's last write that gave the candidate less.
    """
    earliest = watch.earliest(metric)
    assert earliest is not None, "the status told of no look before the verdict"
    at = watch.taken_away() if written is None else written
    print(f"TIMED {metric}: written {at - earliest:.2f} s after the first count beyond the look before")
    print("seconds between looks:", *(f"{gap:.2f}" for gap in watch.between_looks()))
    assert 0 <= at - earliest <= VERDICT


def timed_crash(watch: Watch) -> None:
    """Print how long it took from the first sight of the candidate's end to the weight write. No counter holds this
    evidence: the pod's status does. It is looked at 5 times a second, so the figure may be too small by that."""
    assert watch.deaths, "no container of the candidate was seen to end"
    after = watch.taken_away() - watch.deaths[0]
    print(f"TIMED crash: written {after:.2f} s after the pod's status told of the end")
    assert after <= VERDICT


def within_its_share(load: Load, watch: Watch, *, share: float) -> None:
    """Every bad answer came while the candidate had its share, and there were no more of them than that.

    Args:
        share: the largest weight that the candidate had, percent.
    """
    begun = next(at for at, weight, _ in watch.weights if weight > 0)
    over = watch.taken_away() + 1  # a second until the gateway follows and the last answers are there
    report = load.report()
    bad = [a for a in report.answers if a.failure or a.empty]
    outside = [a for a in bad if not begun - 1 <= a.at <= over]
    assert not outside, f"{len(outside)} bad answers outside the rollout, the first: {outside[0]}; {report}"
    assert {a.version for a in bad if a.empty} <= {"2"}
    during = load.report(since=begun, until=over)
    most = len(during.answers) * share / 100
    # Five standard deviations: once in a million.
    assert len(bad) <= most + 5 * math.sqrt(most), f"{len(bad)} bad answers of {len(during.answers)}: {report}"

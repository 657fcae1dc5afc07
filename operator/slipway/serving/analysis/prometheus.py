"""Counters from a Prometheus server: instant queries of two counters a metric and side, all at the same moment.

The moment is one of the server's own clock, asked for first: ours may be another, and a server that is asked about the
future or the past of its scrapes shows nothing, or something old.

Which server is the chart's to say, not a custom resource's: the operator fetches no URL that a user wrote
(docs/design/0009).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import aiohttp

from slipway.api.common import seconds
from slipway.api.deployment import AnalysisMetric, Tally
from slipway.serving.analysis.counters import edge
from slipway.serving.analysis.look import Counts, Side
from slipway.serving.analysis.pods import whole

TIMEOUT: Final = 5.0
"""Seconds for all questions of one look."""
LIMIT: Final = 1024 * 1024
"""Bytes of one answer."""
PODS: Final = 16
"""Pods of a side that are told apart for ``errors`` and ``slow``: a sample of more is as good."""
SERIES: Final = 32
"""Series of a side that the counters of all other metrics may have together: each is remembered in the status."""
BEHIND: Final = 0.5
"""Seconds before the server's now at which all queries are evaluated. A scrape carries the time at which it began, and
is there when it has ended: of one that is on its way some queries would see the counters and others not yet. A scrape
of a serving pod takes some hundredths."""
_SAID: Final = 300
"""Characters of Prometheus' own words that are shown."""

# A side is found by what its servers say of themselves, so that the pods' names do not matter; of the labels that a
# scrape adds only `namespace` is needed. One series a pod: a counter of one status code begins when the first such
# answer is given, and what it counted before it was first seen would be lost.
_SIDE: Final = (
    "* on (job, instance) group_left () max by (job, instance) (slipway_server_model_info"
    '{namespace="$(namespace)",deployment="$(deployment)",model_version="$(modelVersion)"})'
)
_HERE: Final = 'namespace="$(namespace)"'


def _each_pod(counter: str) -> str:
    return f"sum by (job, instance) ({counter} {_SIDE})"


_REQUESTS: Final = _each_pod(f"slipway_server_requests_total{{{_HERE}}}")
_ERRORS: Final = _each_pod(
    f'(slipway_server_requests_total{{{_HERE},code=~"5.."}} or slipway_server_invalid_requests_total{{{_HERE}}})'
)
_TIMED: Final = _each_pod(f"slipway_server_request_seconds_count{{{_HERE}}}")


Names = Mapping[str, str]
"""What ``$(namespace)``, ``$(deployment)``, ``$(modelVersion)`` and ``$(workload)`` stand for."""
Answers = tuple[dict[Side, dict[str, Counts]], str]
"""Counts by side and source, and why they could not be had."""
R = TypeVar("R")
_Series = Mapping[str, int]
"""Values by a short name of their labels."""


class PrometheusCounters(Protocol):
    """Where counters of a Prometheus come from."""

    async def read(self, sides: Mapping[Side, Names], metrics: Sequence[AnalysisMetric]) -> Answers:
        """Counts by side and series; nothing at all where something could not be had, because metrics that are judged
        together must be of the same moment."""


def queries(metric: AnalysisMetric, names: Names) -> tuple[str, str]:
    """PromQL of all requests and of the bad ones.

    >>> queries(AnalysisMetric(name="mine", total="a_total{v='$(modelVersion)'}", bad="b"), {"modelVersion": "m-v2"})
    ("a_total{v='m-v2'}", 'b')
    """
    if metric.total is not None and metric.bad is not None:
        made = metric.total, metric.bad
    elif metric.threshold is not None:
        # `le` as the servers write it; beyond the last edge all are fast.
        fast = f'slipway_server_request_seconds_bucket{{{_HERE},le="{_le(seconds(metric.threshold))}"}}'
        made = _TIMED, f"{_TIMED} - {_each_pod(fast)}"
    else:
        made = _REQUESTS, _ERRORS
    for name, value in names.items():
        made = made[0].replace(f"$({name})", value), made[1].replace(f"$({name})", value)
    return made


def _le(threshold: float) -> str:
    """
    >>> _le(0.06), _le(1.0), _le(0.0005), _le(99.0)
    ('0.075', '1.0', '0.0005', '+Inf')
    """
    found = edge(threshold)
    return "+Inf" if math.isinf(found) else str(found)


class HttpPrometheus:
    """A Prometheus server over its HTTP API (``/api/v1/query``)."""

    def __init__(self, address: str) -> None:
        self._url = address.rstrip("/") + "/api/v1/query"

    async def read(self, sides: Mapping[Side, Names], metrics: Sequence[AnalysisMetric]) -> Answers:
        asked = [(side, metric, queries(metric, names)) for side, names in sides.items() for metric in metrics]
        made: dict[Side, dict[str, Counts]] = {side: {} for side in sides}
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
                moment = await self._now(session) - BEHIND
                answers = await asyncio.gather(
                    *(self._ask(session, query, moment) for _, _, both in asked for query in both)
                )
            found = [(*what, n, bad) for what, n, bad in zip(asked, answers[::2], answers[1::2], strict=True)]
            for side in sides:
                made[side] = _counts([(metric, n, bad) for at, metric, _, n, bad in found if at == side])
        except TimeoutError:
            return {side: {} for side in sides}, f"Prometheus did not answer within {TIMEOUT:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return {side: {} for side in sides}, f"Prometheus cannot be asked: {error or type(error).__name__}"
        return made, ""

    async def _now(self, session: aiohttp.ClientSession) -> float:
        """The server's time in seconds."""
        return await self._result(session, {"query": "time()"}, "scalar", lambda result: float(result[1]))

    async def _ask(self, session: aiohttp.ClientSession, query: str, moment: float) -> _Series:
        return await self._result(
            session,
            {"query": query, "time": f"{moment:.3f}"},
            "vector",
            lambda result: {_mark(item["metric"]): _count(item["value"][1], query) for item in result},
        )

    async def _result(
        self, session: aiohttp.ClientSession, form: Mapping[str, str], wanted: str, read: Callable[[Any], R]
    ) -> R:
        # No redirects: which server is asked is the chart's to say. In the body, because a query may be long.
        async with session.post(self._url, data=form, allow_redirects=False) as answer:
            text = await whole(answer, LIMIT)
        query = form["query"][:_SAID]
        try:
            body = json.loads(text)
            if body["status"] != "success":
                raise ValueError(f"{str(body['error'])[:_SAID]} (query: {query})")
            data = body["data"]
            if data["resultType"] != wanted:
                asked = {"scalar": "a time", "vector": "counters"}[wanted]
                raise ValueError(f"the query gives a {data['resultType']}, not {asked} (query: {query})")
            return read(data["result"])
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, IndexError, AttributeError):
            raise ValueError(f"it answered {answer.status} with something else than a query's result") from None


def _counts(found: Sequence[tuple[AnalysisMetric, _Series, _Series]]) -> dict[str, Counts]:
    """One side's counts by source.

    Raises:
        ValueError: more series than can be told apart.
    """
    made: dict[str, dict[str, Tally]] = {}
    others = 0
    for metric, n, bad in found:
        if metric.total is None:
            for pod in sorted(n)[:PODS]:
                made.setdefault(pod, {})[metric.name] = Tally(n=n[pod], bad=bad.get(pod, 0))
            continue
        others += len(n) + len(bad)
        if others > SERIES:
            raise ValueError(
                f"the queries of a side give more than {SERIES} series: sum them, for example sum by (pod) (...)"
            )
        # Each a source of its own: they need not have the same labels, and one of them may come later.
        made |= {f"{metric.name}.n.{series}": {metric.name: Tally(n=value)} for series, value in n.items()}
        made |= {f"{metric.name}.bad.{series}": {metric.name: Tally(bad=value)} for series, value in bad.items()}
    return dict(made)


def _count(text: Any, query: str) -> int:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(f"the query gives {text}, which no counter can be (query: {query[:_SAID]})")
    return int(value)


def _mark(labels: Mapping[str, str]) -> str:
    """A short name of a series."""
    text = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:8]

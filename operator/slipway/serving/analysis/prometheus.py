"""Counters from a Prometheus server: instant queries of two counters a metric and side, all at the same moment.

Which server is the chart's to say, not a custom resource's: the operator fetches no URL that a user wrote.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import aiohttp

from slipway.api.common import seconds
from slipway.api.deployment import AnalysisMetric, Tally
from slipway.serving.analysis.look import Counts, Side

TIMEOUT: Final = 5.0
"""Seconds for all questions of one look."""
SERIES: Final = 16
"""Series of one counter and side that are told apart."""
_OURS: Final = 'namespace="$(namespace)",pod=~"$(workload)-.*"'
_REQUESTS: Final = f"slipway_server_requests_total{{{_OURS}}}"
_ERRORS: Final = (
    f'slipway_server_requests_total{{{_OURS},code=~"5.."}} or slipway_server_invalid_requests_total{{{_OURS}}}'
)
_COUNT: Final = f"slipway_server_request_seconds_count{{{_OURS}}}"

Names = Mapping[str, str]
"""What ``$(namespace)``, ``$(deployment)``, ``$(modelVersion)`` and ``$(workload)`` stand for."""
Answers = tuple[dict[Side, dict[str, Counts]], str]


class PrometheusCounters(Protocol):
    """Where counters of a Prometheus come from."""

    async def read(self, sides: Mapping[Side, Names], metrics: Sequence[AnalysisMetric]) -> Answers:
        """Counts by side and series, and why they could not be had."""


def queries(metric: AnalysisMetric, names: Names) -> tuple[str, str]:
    """PromQL of all requests and of the bad ones.

    For ``slow`` the bad ones are all but those of the bucket, which Prometheus subtracts: both have the same labels
    but ``le``.

    >>> queries(AnalysisMetric(name="mine", total="a_total{v='$(modelVersion)'}", bad="b"), {"modelVersion": "m-v2"})
    ("a_total{v='m-v2'}", 'b')
    """
    if metric.total is not None and metric.bad is not None:
        made = metric.total, metric.bad
    elif metric.threshold is not None:
        edge = seconds(metric.threshold)
        fast = f'slipway_server_request_seconds_bucket{{{_OURS},le="{edge:g}"}}'
        made = _COUNT, f"{_COUNT} - ignoring(le) {fast}"
    else:
        made = _REQUESTS, _ERRORS
    for name, value in names.items():
        made = made[0].replace(f"$({name})", value), made[1].replace(f"$({name})", value)
    return made


class HttpPrometheus:
    """A Prometheus server over its HTTP API (``/api/v1/query``)."""

    def __init__(self, address: str) -> None:
        self._url = address.rstrip("/") + "/api/v1/query"

    async def read(self, sides: Mapping[Side, Names], metrics: Sequence[AnalysisMetric]) -> Answers:
        asked = [(side, metric, queries(metric, names)) for side, names in sides.items() for metric in metrics]
        made: dict[Side, dict[str, Counts]] = {side: {} for side in sides}
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
                answers = await asyncio.gather(*(self._ask(session, query) for _, _, both in asked for query in both))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return made, f"Prometheus cannot be asked: {error or type(error).__name__}"
        for (side, metric, _), whole, bad in zip(asked, answers[::2], answers[1::2], strict=True):
            for series, value in whole.items():
                made[side][f"{metric.name}.n.{series}"] = {metric.name: Tally(n=value)}
            for series, value in bad.items():
                made[side][f"{metric.name}.bad.{series}"] = {metric.name: Tally(bad=value)}
        return made, ""

    async def _ask(self, session: aiohttp.ClientSession, query: str) -> dict[str, int]:
        async with session.get(self._url, params={"query": query}, allow_redirects=False) as answer:
            body: dict[str, Any] = await answer.json()
        if body.get("status") != "success":
            raise ValueError(f"{body.get('error', 'no answer')} (query: {query})")
        if body["data"]["resultType"] != "vector":
            raise ValueError(f"the query gives a {body['data']['resultType']}, not counters (query: {query})")
        return {_mark(item["metric"]): int(float(item["value"][1])) for item in body["data"]["result"][:SERIES]}


def _mark(labels: Mapping[str, str]) -> str:
    """A short name of a series."""
    text = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:8]

"""The text of a server's ``/metrics`` -> the counters that a rollout is judged by. Pure."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from slipway import contract
from slipway.api.common import seconds
from slipway.api.deployment import AnalysisMetric, Tally
from slipway.serving.analysis.look import DISAGREEMENT, NOT_COMPARED, REQUESTS, Counts

_WANTED: Final = (
    "requests_total|invalid_requests_total|compared_total|disagreed_total|unmatched_total|uncompared_total"
    "|request_seconds_bucket"
)
_LINE: Final = re.compile(rf"^slipway_server_({_WANTED})\{{([^}}]*)\}} (\S+)", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_SERVER_ERROR: Final = 500
_Families = Mapping[str, list[tuple[dict[str, str], float]]]
"""By name without the prefix: labels and value of each line."""


def read(text: str, metrics: Sequence[AnalysisMetric]) -> Counts:
    """Counts by metric; what the text does not hold is absent.

    Raises:
        ValueError: the text is not what a server says.

    >>> text = '''slipway_server_requests_total{code="200"} 8.0
    ... slipway_server_requests_total{code="503"} 2.0
    ... slipway_server_invalid_requests_total{model="m"} 1.0'''
    >>> read(text, [AnalysisMetric(name="errors")])["errors"]
    Tally(n=10, bad=3)
    """
    families = _families(text)
    if "requests_total" not in families:
        raise ValueError("there is no slipway_server_requests_total")
    try:
        return _read(families, metrics)
    except KeyError as missing:
        raise ValueError(f"the label {missing} is missing") from None


def edge(threshold: float) -> float:
    """The edge of the server's histogram at, or next above, a threshold in seconds.

    >>> edge(0.05), edge(0.06), edge(90.0)
    (0.05, 0.075, inf)
    """
    place = bisect_left(contract.LATENCY_EDGES, threshold)
    return contract.LATENCY_EDGES[place] if place < len(contract.LATENCY_EDGES) else math.inf


def _read(families: _Families, metrics: Sequence[AnalysisMetric]) -> Counts:
    requests = families["requests_total"]
    whole = int(sum(value for _, value in requests))
    broken = sum(value for labels, value in requests if int(labels["code"]) >= _SERVER_ERROR)
    invalid = sum(value for _, value in families.get("invalid_requests_total", ()))
    made = {REQUESTS: Tally(n=whole), "errors": Tally(n=whole, bad=int(broken + invalid))}
    if "compared_total" in families:
        compared, differ = (sum(v for _, v in families.get(f, ())) for f in ("compared_total", "disagreed_total"))
        made[DISAGREEMENT] = Tally(n=int(compared), bad=int(differ))
        unknown, other = (sum(v for _, v in families.get(f, ())) for f in ("unmatched_total", "uncompared_total"))
        made[NOT_COMPARED] = Tally(n=int(unknown + other), bad=int(unknown))
    for metric in metrics:
        if metric.threshold is not None and (slow := _slow(families, seconds(metric.threshold))):
            made[metric.name] = slow
    return made


def _slow(families: _Families, threshold: float) -> Tally | None:
    """Requests that took longer than the histogram's edge at, or next above, the threshold. The edges are the text's
    own: a server of an older release may have others than this operator knows."""
    buckets = sorted((float(labels["le"]), value) for labels, value in families.get("request_seconds_bucket", ()))
    if not buckets:
        return None
    if not math.isinf(buckets[-1][0]):
        raise ValueError("a histogram has no last bucket")
    whole = int(buckets[-1][1])
    fast = next(value for at, value in buckets if at >= threshold)
    return Tally(n=whole, bad=whole - int(fast))


def _families(text: str) -> _Families:
    made: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family, labels, value in _lines(text):
        made.setdefault(family, []).append((labels, value))
    return made


def _lines(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for found in _LINE.finditer(text):
        value = float(found[3])
        if not 0 <= value < math.inf:
            raise ValueError(f"{found[1]} is no count")
        yield found[1], dict(_LABEL.findall(found[2])), value

"""The text of a server's ``/metrics`` -> the counters that a rollout is judged by. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from slipway.api.common import seconds
from slipway.api.deployment import AnalysisMetric, Tally
from slipway.serving.analysis.look import DISAGREEMENT, REQUESTS, Counts

_LINE: Final = re.compile(r"^slipway_server_(\w+)\{([^}]*)\} (\S+)", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_SERVER_ERROR: Final = 500


def read(text: str, metrics: Sequence[AnalysisMetric]) -> Counts:
    """Counts by metric; what the text does not hold is absent.

    Raises:
        ValueError: the text is no exposition.

    >>> text = '''slipway_server_requests_total{code="200"} 8.0
    ... slipway_server_requests_total{code="503"} 2.0
    ... slipway_server_invalid_requests_total{model="m"} 1.0'''
    >>> read(text, [AnalysisMetric(name="errors")])["errors"]
    Tally(n=10, bad=3)
    """
    families = _families(text)
    requests = families.get("requests_total")
    made: dict[str, Tally] = {}
    if requests is not None:
        whole = int(sum(value for _, value in requests))
        broken = sum(value for labels, value in requests if int(labels["code"]) >= _SERVER_ERROR)
        invalid = sum(value for _, value in families.get("invalid_requests_total", ()))
        made[REQUESTS] = Tally(n=whole)
        made["errors"] = Tally(n=whole, bad=int(broken + invalid))
    if "compared_total" in families:
        compared, differ = (sum(v for _, v in families.get(f, ())) for f in ("compared_total", "disagreed_total"))
        made[DISAGREEMENT] = Tally(n=int(compared), bad=int(differ))
    for metric in metrics:
        if metric.threshold is not None and (slow := _slow(families, seconds(metric.threshold))):
            made[metric.name] = slow
    return made


def _slow(families: Mapping[str, list[tuple[dict[str, str], float]]], threshold: float) -> Tally | None:
    """Requests that took longer than the histogram's edge at, or next above, the threshold."""
    buckets = sorted((float(labels["le"]), value) for labels, value in families.get("request_seconds_bucket", ()))
    if not buckets:
        return None
    whole = int(buckets[-1][1])
    fast = next(value for edge, value in buckets if edge >= threshold)
    return Tally(n=whole, bad=whole - int(fast))


def _families(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    made: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family, labels, value in _lines(text):
        made.setdefault(family, []).append((labels, value))
    return made


def _lines(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for found in _LINE.finditer(text):
        yield found[1], dict(_LABEL.findall(found[2])), float(found[3])

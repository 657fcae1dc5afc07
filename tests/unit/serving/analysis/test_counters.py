"""The text of a server's ``/metrics`` as counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from slipway import contract
from slipway.api.deployment import AnalysisMetric, Tally
from slipway.serving.analysis.counters import edge, read
from slipway.serving.analysis.look import NOT_COMPARED
from slipway_server.agreement import KINDS
from slipway_server.metrics import SECONDS, ServerMetrics
from slipway_server.metrics import Counts as ShadowCounts

SLOW = AnalysisMetric(name="slow", threshold="50ms")
REQUESTS = 'slipway_server_requests_total{model="m",version="1",code="200"} 8\n'


def test_of_a_real_server() -> None:
    metrics = ServerMetrics("digits", "4")
    for code, took in ((200, 0.01), (200, 0.05), (200, 0.051), (400, 0.001), (499, 0.2), (503, 0.0001), (504, 30.1)):
        metrics.answered(code, took)
    metrics.invalid_requests = 1
    registry = CollectorRegistry()
    registry.register(metrics)
    found = read(generate_latest(registry).decode(), [AnalysisMetric(name="errors"), SLOW])
    assert found["requests"] == Tally(n=7)
    # 503 and 504, and a number that is none; what a client did wrong is not the model's fault.
    assert found["errors"] == Tally(n=7, bad=3)
    assert found["slow"] == Tally(n=7, bad=3)
    assert "disagreement" not in found
    assert np.isclose(metrics.latency.total, 30.4121)


def test_of_a_shadow() -> None:
    text = REQUESTS + 'slipway_server_compared_total{model="m",version="1"} 50.0\n'
    text += "".join(f'slipway_server_disagreed_total{{model="m",kind="{kind}"}} {n}\n' for n, kind in enumerate(KINDS))
    assert read(text, [])["disagreement"] == Tally(n=50, bad=sum(range(len(KINDS))))


def test_of_a_shadow_whose_copies_are_compared_with_nothing() -> None:
    shadow = ServerMetrics("digits", "4")
    shadow.comparison = ShadowCounts(unmatched=7)
    shadow.comparison.uncompared["unanswered"] += 3
    shadow.comparison.uncompared["repeated"] += 1
    registry = CollectorRegistry()
    registry.register(shadow)
    found = read(generate_latest(registry).decode() + REQUESTS, [])
    assert found["disagreement"] == Tally()
    assert found[NOT_COMPARED] == Tally(n=11, bad=7)


def bucket(le: str, value: int) -> str:
    return f'slipway_server_request_seconds_bucket{{model="m",le="{le}"}} {value}\n'


BUCKETS = REQUESTS + bucket("0.05", 10) + bucket("0.1", 40) + bucket("1.0", 50) + bucket("+Inf", 60)
AT: dict[str, tuple[str, int]] = {
    "an edge is itself": ("50ms", 50),
    "between two edges the next above": ("51ms", 20),
    "a millisecond below an edge": ("49ms", 50),
    "another spelling of the edge": ("1s", 10),
    "beyond the last edge nothing is slow": ("2s", 0),
}


@pytest.mark.parametrize("sentence", AT)
def test_slow_is_counted_at_an_edge(sentence: str) -> None:
    threshold, bad = AT[sentence]
    found = read(BUCKETS, [AnalysisMetric(name="slow", threshold=threshold)])
    assert found["slow"] == Tally(n=60, bad=bad)


def test_the_edges_are_those_of_the_server() -> None:
    assert SECONDS is contract.LATENCY_EDGES
    assert list(SECONDS) == sorted(set(SECONDS))
    for one, next_one in pairwise(SECONDS):
        assert edge(one) == one
        assert edge((one + next_one) / 2) == next_one
        # At most a factor of two: a threshold is never judged at more than twice of it.
        assert next_one <= 2 * one


NO_COUNTS: dict[str, str] = {
    "nothing": "",
    "a page of HTML": "<html><body>It works!</body></html>",
    "another program's metrics": "process_cpu_seconds_total 1.5\n",
    "a counter without a code": 'slipway_server_requests_total{model="m"} 8\n',
    "a code that is none": 'slipway_server_requests_total{code="many"} 8\n',
    "a value that is none": 'slipway_server_requests_total{code="200"} many\n',
    "a value that is infinite": 'slipway_server_requests_total{code="200"} +Inf\n',
    "a value that is no number": 'slipway_server_requests_total{code="200"} NaN\n',
    "a value below zero": 'slipway_server_requests_total{code="200"} -1\n',
    "a histogram without a last bucket": REQUESTS + bucket("0.05", 10),
    "a bucket without an edge": REQUESTS + 'slipway_server_request_seconds_bucket{model="m"} 1\n',
}


@pytest.mark.parametrize("sentence", NO_COUNTS)
def test_is_no_servers_text(sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read(NO_COUNTS[sentence], [SLOW])


def test_what_is_not_there_is_left_out() -> None:
    assert set(read(REQUESTS, [SLOW])) == {"requests", "errors"}

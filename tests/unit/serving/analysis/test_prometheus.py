"""The HTTP API of Prometheus, from a server on loopback that answers well, badly and not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from slipway.api.deployment import AnalysisMetric, Tally
from slipway.serving.analysis import prometheus
from slipway.serving.analysis.look import Counts
from slipway.serving.analysis.prometheus import Answers, HttpPrometheus, queries
from tests.support.http_server import Answer, breaks_off, free_port, hangs, in_pieces, redirects, says, serving

ERRORS = AnalysisMetric(name="errors")
SLOW = AnalysisMetric(name="slow", threshold="50ms")
LOANS = AnalysisMetric(name="loans", total="loans_total{version='$(modelVersion)'}", bad="refused_total")
NAMES = {"namespace": "team", "deployment": "digits", "modelVersion": "digits-v4", "workload": "digits-digits-v4"}
Series = tuple[Mapping[str, str], str]


def vector(*series: Series) -> str:
    result = [{"metric": labels, "value": [1.5, value]} for labels, value in series]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


def pod(number: int) -> dict[str, str]:
    return {"job": "slipway", "instance": f"10.0.0.{number}:9091"}


NOW = 1_700_000_000.25
"""Of the server's clock, which is another one than ours."""


def clock(answer: Answer) -> Answer:
    """It knows the time, and answers everything else so."""

    async def both(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if form.get("query") != "time()":
            return await answer(request)
        assert "time" not in form
        result = {"resultType": "scalar", "result": [NOW, str(NOW)]}
        return web.Response(text=json.dumps({"status": "success", "data": result}), content_type="application/json")

    return both


def by_query(answers: Mapping[str, str], asked: list[str] | None = None, at: list[str] | None = None) -> Answer:
    """Answers by a part of the query; what nobody has is an empty vector."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert (request.method, request.path) == ("POST", "/api/v1/query")
        form = await request.post()
        query = str(form["query"])
        if asked is not None:
            asked.append(query)
        if at is not None:
            at.append(str(form["time"]))
        text = next((text for part, text in answers.items() if part in query), vector())
        return web.Response(text=text, content_type="application/json")

    return answer


async def asked(answer: Answer, *metrics: AnalysisMetric) -> tuple[dict[str, Counts], str]:
    """What it says about a candidate."""
    async with serving({"127.0.0.1": clock(answer)}) as port:
        counts, trouble = await HttpPrometheus(f"http://127.0.0.1:{port}").read({"Candidate": NAMES}, metrics)
    return counts["Candidate"], trouble


def total(counts: Mapping[str, Counts], metric: str) -> Tally:
    tallies = [c[metric] for c in counts.values() if metric in c]
    return Tally(n=sum(t.n for t in tallies), bad=sum(t.bad for t in tallies))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "TIMEOUT", 0.3)


async def test_errors_and_slow_are_one_source_a_pod() -> None:
    answers = {
        "invalid": vector((pod(1), "3"), (pod(2), "0")),
        'le="0.05"': vector((pod(1), "7"), (pod(2), "1")),
        "_count": vector((pod(1), "100"), (pod(2), "50")),
        "requests_total": vector((pod(1), "101"), (pod(2), "50")),
    }
    counts, trouble = await asked(by_query(answers), ERRORS, SLOW)
    assert trouble == ""
    assert sorted(counts.values(), key=str) == sorted(
        [
            {"errors": Tally(n=101, bad=3), "slow": Tally(n=100, bad=7)},
            {"errors": Tally(n=50, bad=0), "slow": Tally(n=50, bad=1)},
        ],
        key=str,
    )


async def test_a_persons_two_counters_need_not_have_the_same_labels() -> None:
    answers = {
        "loans_total{version='digits-v4'}": vector(({"pod": "a"}, "70"), ({"pod": "b"}, "30")),
        "refused_total": vector(({"pod": "a", "why": "risk"}, "2.7"), ({"pod": "a", "why": "age"}, "1")),
    }
    counts, trouble = await asked(by_query(answers), LOANS)
    assert trouble == ""
    assert len(counts) == 4
    assert total(counts, "loans") == Tally(n=100, bad=3)


async def test_both_sides_are_asked_by_their_own_names() -> None:
    queried: list[str] = []
    async with serving({"127.0.0.1": clock(by_query({}, queried))}) as port:
        server = HttpPrometheus(f"http://127.0.0.1:{port}/")
        await server.read({"Stable": {**NAMES, "modelVersion": "digits-v3"}, "Candidate": NAMES}, [ERRORS, LOANS])
    assert len(queried) == 8
    assert sum("digits-v3" in q for q in queried) == 3
    assert not [q for q in queried if "$(" in q]


async def test_all_is_asked_about_one_moment_of_the_servers_clock() -> None:
    moments: list[str] = []
    async with serving({"127.0.0.1": clock(by_query({}, at=moments))}) as port:
        server = HttpPrometheus(f"http://127.0.0.1:{port}/")
        await server.read({"Stable": NAMES, "Candidate": NAMES}, [ERRORS, LOANS])
    assert moments == [f"{NOW - prometheus.BEHIND:.3f}"] * 8


async def test_a_prometheus_that_does_not_know_the_time() -> None:
    async with serving({"127.0.0.1": says(vector())}) as port:
        found, why = await HttpPrometheus(f"http://127.0.0.1:{port}").read({"Candidate": NAMES}, [ERRORS])
    assert found == {"Candidate": {}}
    assert "the query gives a vector, not a time (query: time())" in why


EDGES: dict[str, tuple[str, str]] = {
    "an edge": ("50ms", '"0.05"'),
    "between two edges the next above": ("60ms", '"0.075"'),
    "a whole second, as the server writes it": ("1s", '"1.0"'),
    "a minute": ("1m", '"60.0"'),
    "half a millisecond above nothing": ("1ms", '"0.001"'),
}


@pytest.mark.parametrize("sentence", EDGES)
def test_slow_is_asked_at_an_edge(sentence: str) -> None:
    threshold, le = EDGES[sentence]
    _, bad = queries(AnalysisMetric(name="slow", threshold=threshold), NAMES)
    assert f"le={le}" in bad


async def test_more_pods_than_are_told_apart_are_a_sample_that_stays() -> None:
    many = range(40)
    pages = [
        {
            "invalid": vector(*((pod(n), f"{n}") for n in numbers)),
            "requests_total": vector(*((pod(n), "1000") for n in numbers)),
        }
        for numbers in (many, many[::-1])
    ]
    one, other = [await asked(by_query(page), ERRORS) for page in pages]
    assert one == other
    assert len(one[0]) == prometheus.PODS
    assert not one[1]


async def test_more_series_than_can_be_remembered() -> None:
    answers = {"loans_total": vector(*(({"user": str(n)}, "1") for n in range(40)))}
    counts, trouble = await asked(by_query(answers), LOANS)
    assert not counts
    assert trouble.endswith("the queries of a side give more than 32 series: sum them, for example sum by (pod) (...)")


def refuses(error: str) -> Answer:
    return says(json.dumps({"status": "error", "errorType": "bad_data", "error": error}), 400, "application/json")


TROUBLE: dict[str, tuple[Answer, str]] = {
    "hangs": (hangs, "Prometheus did not answer within 0.3 s"),
    "breaks off": (breaks_off(vector()), "Prometheus cannot be asked: Response payload is not completed"),
    "refuses a query": (refuses("1:3: parse error: unexpected end"), "1:3: parse error: unexpected end (query: loans"),
    "is no Prometheus": (says("<html>"), "it answered 200 with something else than a query's result"),
    "is broken": (says("no", 500), "it answered 500 with something else than a query's result"),
    "wants to know who asks": (says("", 401), "it answered 401 with something else than a query's result"),
    "sends the operator away": (redirects("http://127.0.0.2/"), "it answered 302 with something else"),
    "answers a list": (says("[]"), "it answered 200 with something else than a query's result"),
    "answers without a result": (says('{"status": "success"}'), "it answered 200 with something else"),
    "answers a number": (
        says(json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}})),
        "the query gives a scalar, not counters (query: loans_total",
    ),
    "answers without end": (says(vector() + " " * prometheus.LIMIT), "the answer is longer than 1048576 bytes"),
    "counts below zero": (says(vector(({}, "-1"))), "the query gives -1, which no counter can be (query: loans_total"),
    "counts what is no number": (says(vector(({}, "NaN"))), "the query gives NaN, which no counter can be"),
    "counts without end": (says(vector(({}, "+Inf"))), "the query gives +Inf, which no counter can be"),
}


@pytest.mark.parametrize("sentence", TROUBLE)
async def test_a_prometheus_that(sentence: str) -> None:
    """says nothing that could be judged, and the person who reads the status knows why."""
    answer, words = TROUBLE[sentence]
    counts, trouble = await asked(answer, LOANS)
    assert counts == {}
    assert words in trouble


async def test_one_query_that_fails_spoils_the_look() -> None:
    """Metrics that are judged together are of the same moment, or there is none."""
    answers = {
        "requests_total": vector((pod(1), "100")),
        "refused_total": json.dumps({"status": "error", "error": "x"}),
    }
    counts, trouble = await asked(by_query(answers), ERRORS, LOANS)
    assert counts == {}
    assert "x (query: refused_total)" in trouble


async def test_an_answer_in_pieces_is_read_whole() -> None:
    text = vector(({"pod": "a"}, "123456"))
    counts, _ = await asked(in_pieces(text[:-40], text[-40:-20], text[-20:]), LOANS)
    assert total(counts, "loans") == Tally(n=123456, bad=123456)


async def test_a_prometheus_that_is_not_there() -> None:
    found: Answers = await HttpPrometheus(f"http://127.0.0.1:{free_port()}").read({"Candidate": NAMES}, [ERRORS])
    assert found[0] == {"Candidate": {}}
    assert found[1].startswith("Prometheus cannot be asked: Cannot connect to host 127.0.0.1")


async def test_no_traffic_is_no_trouble() -> None:
    found: tuple[Any, str] = await asked(by_query({}), ERRORS, SLOW, LOANS)
    assert found == ({}, "")

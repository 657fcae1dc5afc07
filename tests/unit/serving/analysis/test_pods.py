"""The pods' own counters over HTTP, from servers on loopback that do what pods do when they are in trouble."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from slipway.api.deployment import AnalysisMetric, Tally
from slipway.serving.analysis import pods
from slipway.serving.analysis.look import Counts
from slipway.serving.analysis.pods import HttpCounters
from tests.support.http_server import Answer, breaks_off, free_port, hangs, in_pieces, redirects, says, serving

METRICS = [AnalysisMetric(name="errors")]
GOOD = 'slipway_server_requests_total{code="200"} 90\nslipway_server_requests_total{code="500"} 10\n'
FOUND: Counts = {"requests": Tally(n=100), "errors": Tally(n=100, bad=10)}


async def asked(answers: Mapping[str, Answer], **ips: str) -> tuple[dict[str, Counts], str]:
    """What the candidate's pods say, by name."""
    async with serving(answers) as port:
        counts, trouble = await HttpCounters(port).read({"Stable": {}, "Candidate": ips}, METRICS)
    assert counts["Stable"] == {}
    return counts["Candidate"], trouble


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pods, "TIMEOUT", 0.3)


async def test_both_sides_are_asked() -> None:
    async with serving({"127.0.0.1": says(GOOD), "127.0.0.2": says(GOOD.replace("10", "20"))}) as port:
        counts, trouble = await HttpCounters(port).read(
            {"Stable": {"a": "127.0.0.1"}, "Candidate": {"b": "127.0.0.2", "c": "127.0.0.1"}}, METRICS
        )
    assert counts == {
        "Stable": {"a": FOUND},
        "Candidate": {"b": {"requests": Tally(n=110), "errors": Tally(n=110, bad=20)}, "c": FOUND},
    }
    assert trouble == ""


async def test_a_text_that_comes_in_pieces_is_read_whole() -> None:
    text = GOOD + "# " + "x" * 200_000 + "\n"
    middle = len(GOOD) - 3  # in the middle of a number
    counts, trouble = await asked(
        {"127.0.0.1": in_pieces(text[:middle], text[middle : middle + 1], text[middle + 1 :])}, a="127.0.0.1"
    )
    assert counts == {"a": FOUND}
    assert not trouble


SILENT: dict[str, Answer] = {
    "hangs": hangs,
    "breaks off": breaks_off(GOOD),
    "answers 500": says(GOOD, status=500),
    "answers 503, as one that loads does": says("the model is loading", status=503),
    "answers something else": says("<html>"),
    "answers nothing": says(""),
    "answers without end": says(GOOD + "#" + "x" * pods.LIMIT),
    "sends the operator away": redirects("http://127.0.0.2/metrics"),
}


@pytest.mark.parametrize("sentence", SILENT)
async def test_a_pod_that(sentence: str) -> None:
    """is left out and named, and the others are read all the same."""
    answers = {"127.0.0.1": SILENT[sentence], "127.0.0.2": says(GOOD)}
    counts, trouble = await asked(answers, bad="127.0.0.1", good="127.0.0.2")
    assert counts == {"good": FOUND}
    assert trouble == "bad: the counters cannot be read"


async def test_a_redirect_is_not_followed() -> None:
    seen = []

    async def elsewhere(request):  # type: ignore[no-untyped-def]
        seen.append(request.path)
        return await says(GOOD)(request)

    async with serving({"127.0.0.2": elsewhere}) as other:
        answers = {"127.0.0.1": redirects(f"http://127.0.0.2:{other}/metrics")}
        counts, _ = await asked(answers, a="127.0.0.1")
    assert not counts
    assert not seen


async def test_a_pod_that_is_gone() -> None:
    counts, trouble = await HttpCounters(free_port()).read({"Candidate": {"a": "127.0.0.1"}}, METRICS)
    assert counts == {"Candidate": {}}
    assert trouble == "a: the counters cannot be read"


async def test_nobody_to_ask() -> None:
    assert await HttpCounters(1).read({"Stable": {}, "Candidate": {}}, METRICS) == ({"Stable": {}, "Candidate": {}}, "")


async def test_an_address_of_version_6() -> None:
    async with serving({"::1": says(GOOD)}) as port:
        counts, _ = await HttpCounters(port).read({"Candidate": {"a": "::1"}}, METRICS)
    assert counts == {"Candidate": {"a": FOUND}}

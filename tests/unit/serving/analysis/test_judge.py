"""From looks to verdicts and their sentences."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from slipway.api.deployment import MetricAnalysis, Tally
from slipway.serving.analysis.judge import Watched, judge, look_back, needed, next_step, summary

ERRORS = Watched("errors", 0.01, 50)
SLOW = Watched("slow", 0.05, 50)
DISAGREEMENT = Watched("disagreement", 0.01, 500, alone=True)
Pair = tuple[int, int]


def watch(
    looks: Sequence[tuple[Pair | None, Pair | None]],
    metric: Watched = ERRORS,
    *,
    before: Sequence[MetricAnalysis] = (),
    bar: float = 20.0,
    switched: bool = False,
) -> MetricAnalysis:
    """The analysis after some looks, each (n, bad) of the stable version and of the candidate."""
    entries = list(before)
    for stable, candidate in looks:
        grown = {
            side: {metric.name: Tally(n=pair[0], bad=pair[1])} if pair else {}
            for side, pair in (("Stable", stable), ("Candidate", candidate))
        }
        entries = judge(entries, [metric], grown, bar=bar, switched=switched)  # type: ignore[arg-type]
    (entry,) = entries
    return entry


VERDICTS: dict[str, tuple[Watched, list[tuple[Pair | None, Pair | None]], str]] = {
    "nobody asked anything": (ERRORS, [(None, None)], "NoTraffic"),
    "only the stable version was asked": (ERRORS, [((1000, 1), None)] * 5, "NoTraffic"),
    "only the candidate was asked": (ERRORS, [(None, (1000, 300))] * 5, "NoTraffic"),
    "too few requests to tell": (ERRORS, [((90, 0), (10, 1))], "Undecided"),
    "the candidate does no harm": (ERRORS, [((900, 1), (100, 0))] * 60, "NoHarm"),
    "the candidate fails too often": (ERRORS, [((900, 1), (100, 20))] * 5, "Harm"),
    "both fail equally often": (ERRORS, [((900, 90), (100, 10))] * 300, "NoHarm"),
    "the candidate is much better": (ERRORS, [((900, 450), (100, 0))] * 5, "NoHarm"),
    "the evidence is there but not the samples": (
        Watched("errors", 0.01, 100_000),
        [((900, 1), (100, 0))] * 60,
        "Undecided",
    ),
    "harm needs no number of samples": (Watched("errors", 0.01, 100_000), [((900, 1), (100, 50))] * 3, "Harm"),
    "the answers agree": (DISAGREEMENT, [(None, (100, 0))] * 20, "NoHarm"),
    "the answers differ": (DISAGREEMENT, [(None, (100, 20))] * 2, "Harm"),
    "too few answers were compared": (DISAGREEMENT, [(None, (100, 0))] * 4, "Undecided"),
    "no answer was compared": (DISAGREEMENT, [((500, 0), None)], "NoTraffic"),
    "more bad than asked, for a moment": (ERRORS, [((100, 0), (0, 3))], "NoTraffic"),
}


@pytest.mark.parametrize("sentence", VERDICTS)
def test_verdict(sentence: str) -> None:
    metric, looks, verdict = VERDICTS[sentence]
    assert watch(looks, metric).verdict == verdict


def test_what_was_shown_once_in_a_step_stays_shown() -> None:
    shown = watch([((900, 1), (100, 0))] * 60)
    assert shown.verdict == "NoHarm"
    later = watch([((90, 0), (10, 1))], before=[shown])
    assert later.verdict == "NoHarm"


def test_harm_that_begins_after_it_is_still_found() -> None:
    shown = watch([((900, 1), (100, 0))] * 60)
    assert watch([((900, 1), (100, 30))] * 20, before=[shown]).verdict == "Harm"


def test_it_goes_on_from_what_is_written_down() -> None:
    looks = [((900, 1), (100, 2))] * 10
    whole, again = watch(looks), watch(looks[:5])
    for look in looks[5:]:
        again = watch([look], before=[MetricAnalysis.model_validate(again.wire())])
    assert again == whole


def test_more_metrics_share_the_error() -> None:
    assert [needed(n) for n in (0, 1, 4)] == [20.0, 20.0, 80.0]
    looks = [((900, 1), (100, 5))]
    while watch(looks).verdict != "Harm":
        looks.append(looks[0])
    assert watch(looks, bar=1e6).verdict == "Undecided"


def test_a_new_step_must_show_anew_and_forgets_no_harm() -> None:
    shown = watch([((900, 1), (100, 0))] * 60)
    (entry,) = next_step([shown], switches=False)
    assert (entry.verdict, entry.stable, entry.candidate) == ("NoTraffic", Tally(), Tally())
    assert entry.evidence.no_harm == "1"
    suspect = watch([((900, 1), (100, 5))])
    (entry,) = next_step([suspect], switches=False)
    assert float(entry.evidence.harm) > 1
    (entry,) = next_step([suspect], switches=True)
    assert (entry.evidence.harm, entry.test) == ("1", "")
    assert entry.reference == Tally(n=900, bad=1)


def test_after_the_switch_the_past_is_the_measure() -> None:
    (before,) = look_back([], [ERRORS], {"errors": Tally(n=10_000, bad=100)})
    (before,) = look_back([before], [ERRORS], {"errors": Tally(n=10_000, bad=100)})
    assert before.reference == Tally(n=20_000, bad=200)
    # 1% before the switch and one more allowed: 1% is no harm, 6% is.
    assert watch([(None, (1000, 10))] * 5, before=[before], switched=True).verdict == "NoHarm"
    worse = watch([(None, (1000, 60))] * 5, before=[before], switched=True)
    assert worse.verdict == "Harm"
    assert worse.message == "errors 6% against 1% before the switch"


def test_after_the_switch_without_a_past_nothing_is_decided() -> None:
    assert watch([(None, (1000, 500))] * 5, switched=True).verdict != "Harm"


SENTENCES: dict[str, tuple[list[MetricAnalysis], str]] = {
    "nothing was measured": ([MetricAnalysis(metric="errors")], ""),
    "too few": ([watch([((2, 0), (1, 0))])], "1 request, errors 0% against 0% (more samples needed)"),
    "harm": (
        [watch([((9000, 18), (1000, 60))] * 5)],
        "5,000 requests, errors 6% against 0.2% (harm)",
    ),
    "two metrics": (
        [watch([((9000, 18), (1000, 2))] * 10), watch([((9000, 900), (1000, 100))] * 10, SLOW)],
        "10,000 requests, errors 0.2% against 0.2% (no harm), slow 10% against 10% (no harm)",
    ),
    "disagreement": (
        [watch([(None, (1000, 2))] * 5, DISAGREEMENT)],
        "5,000 requests, disagreement 0.2%, 1% allowed (no harm)",
    ),
    "only one side": ([watch([(None, (10, 1))])], "10 requests, errors 10% against - (no traffic)"),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_person_reads(sentence: str) -> None:
    entries, words = SENTENCES[sentence]
    assert summary(entries) == words

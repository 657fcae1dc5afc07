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
    bar: float = 25.0,
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
    assert [needed(n) for n in (0, 1, 4)] == [25.0, 25.0, 100.0]
    looks = [((900, 1), (100, 5))]
    while watch(looks).verdict != "Harm":
        looks.append(looks[0])
    assert watch(looks, bar=1e6).verdict == "Undecided"


def test_a_new_step_must_show_anew_and_forgets_no_harm() -> None:
    shown = watch([((900, 1), (100, 0))] * 60)
    (entry,) = next_step([shown])
    assert (entry.verdict, entry.stable, entry.candidate) == ("NoTraffic", Tally(), Tally())
    assert entry.evidence.no_harm == "1"
    suspect = watch([((900, 1), (100, 5))])
    (entry,) = next_step([suspect])
    assert float(entry.evidence.harm) > 1
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


def past(n: int, bad: int) -> list[MetricAnalysis]:
    """The stable version showed so much before the switch."""
    return look_back([], [ERRORS], {"errors": Tally(n=n, bad=bad)})


SWITCHED: dict[str, tuple[list[MetricAnalysis], list[Pair], str, str]] = {
    "no past at all": ([], [(1000, 500)] * 5, "NoTraffic", "- before the switch, too few to pass: 0 requests"),
    "five points worse, 20 requests of the stable": (past(20, 0), [(100, 5)] * 50, "Undecided", "20 requests, minS"),
    "five points worse, 60 requests of the stable": (past(60, 0), [(100, 5)] * 50, "Undecided", "against 0% before"),
    "as good, 20 requests of the stable": (past(20, 0), [(100, 0)] * 50, "Undecided", "too few to pass"),
    "as good, 60 requests of the stable": (past(60, 0), [(100, 0)] * 50, "NoHarm", "errors 0% against 0% before"),
    "no requests of the candidate": (past(1000, 1), [(0, 0)], "NoTraffic", "errors - against 0.1% before"),
    "far worse, 20 requests of the stable": (past(20, 0), [(100, 50)] * 2, "Harm", "errors 50% against 0% before"),
    "within the margin, and the past is well known": (past(100_000, 1000), [(1000, 11)] * 9, "NoHarm", "against 1% "),
    "beyond the margin, and the past is well known": (past(100_000, 1000), [(1000, 30)] * 5, "Harm", "errors 3% "),
}


@pytest.mark.parametrize("sentence", SWITCHED)
def test_after_a_switch(sentence: str) -> None:
    before, looks, verdict, words = SWITCHED[sentence]
    found = watch([(None, look) for look in looks], before=before, switched=True)
    assert found.verdict == verdict
    assert words in found.message


def test_the_whole_rollout_has_one_chance_to_err() -> None:
    """Evidence of harm from before the switch goes on after it: it does not begin anew with 1."""
    good = watch([((900, 9), (100, 1))] * 50)
    (entry,) = next_step([good])
    after = watch([(None, (1, 0))], before=[entry], switched=True)
    assert float(after.evidence.harm) <= float(entry.evidence.harm) < 0.5
    suspect = watch([((900, 1), (100, 5))])
    (entry,) = next_step([suspect])
    assert float(watch([(None, (1, 1))], before=[entry], switched=True).evidence.harm) > 1


def test_whoever_changes_what_is_tolerated_asks_another_question() -> None:
    shown = watch([((900, 1), (100, 0))] * 60)
    assert shown.verdict == "NoHarm"
    stricter = watch([((900, 1), (100, 0))], Watched("errors", 0.001, 50), before=[shown])
    assert (stricter.verdict, stricter.candidate) == ("Undecided", Tally(n=100))
    assert stricter.reference == Tally(n=61 * 900, bad=61)
    worse = watch([((900, 1), (100, 3))] * 60, Watched("errors", 0.1, 50))
    assert worse.verdict == "NoHarm"
    assert watch([((900, 1), (100, 3))] * 60, before=[worse]).verdict == "Harm"


def test_whoever_changes_what_is_counted_asks_another_question() -> None:
    before, after = (Watched("slow", 0.05, 50, question=threshold) for threshold in ("50ms", "10ms"))
    shown = watch([((900, 1), (100, 90))] * 5, before)
    assert (shown.verdict, shown.question) == ("Harm", "50ms")
    (kept,) = next_step([shown])
    assert kept.question == "50ms"
    anew = watch([((90, 1), (10, 0))], after, before=[shown])
    assert (anew.verdict, anew.question, anew.candidate) == ("Undecided", "10ms", Tally(n=10))
    assert anew.reference == Tally(n=90, bad=1), "and what the stable version showed was of the other one too"
    (looked_back,) = look_back([shown], [after], {"slow": Tally(n=7)})
    assert (looked_back.verdict, looked_back.reference) == ("NoTraffic", Tally(n=7))


def test_the_bound_of_a_second_shadow_is_its_own() -> None:
    lenient = Watched("disagreement", 0.1, 50, alone=True)
    (entry,) = next_step([watch([(None, (100, 5))] * 20, lenient)])
    strict = watch([(None, (100, 5))] * 20, DISAGREEMENT, before=[entry])
    assert (strict.verdict, strict.message) == ("Harm", "disagreement 5%, 1% allowed")


def test_whoever_changes_what_is_tolerated_after_the_switch_asks_another_question() -> None:
    shown = watch([(None, (1000, 11))] * 9, before=past(100_000, 1000), switched=True)
    assert shown.verdict == "NoHarm"
    stricter = watch([(None, (1000, 11))], Watched("errors", 0.001, 50), before=[shown], switched=True)
    assert (stricter.verdict, stricter.candidate, stricter.reference) == (
        "Undecided", Tally(n=1000, bad=11), Tally(n=100_000, bad=1000),
    )  # fmt: skip


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

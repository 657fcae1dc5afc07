"""What was counted between two looks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from slipway.api.deployment import Looked, Tally
from slipway.serving.analysis.look import INTERVAL, ROWS, Counts, Look, due, record, since, sources

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def looked(**pods: Counts) -> Look:
    """Pods by name; those that begin with ``s`` are the stable version's."""
    sides = {"Stable": {n: c for n, c in pods.items() if n[0] == "s"}}
    return Look(NOW, {**sides, "Candidate": {n: c for n, c in pods.items() if n[0] == "c"}})  # type: ignore[dict-item]


def without(look: Look, *silent: str) -> Look:
    """In which these pods did not answer, though they are there."""
    sides = {"Stable": [n for n in silent if n[0] == "s"], "Candidate": [n for n in silent if n[0] == "c"]}
    return replace(look, silent=sides, metrics={"errors", "slow"})  # type: ignore[arg-type]


def errors(n: int, bad: int = 0) -> Counts:
    return {"errors": Tally(n=n, bad=bad)}


CASES: dict[str, tuple[Look, Look, tuple[int, int]]] = {
    "what a counter grew by": (looked(c1=errors(100, 1)), looked(c1=errors(110, 3)), (10, 2)),
    "nothing, where nobody counted": (looked(c1=errors(100, 1)), looked(c1=errors(100, 1)), (0, 0)),
    "two pods together": (
        looked(c1=errors(1), c2=errors(10, 1)),
        looked(c1=errors(3), c2=errors(15, 2)),
        (7, 1),
    ),
    "all that a pod shows that began anew": (looked(c1=errors(100, 5)), looked(c1=errors(7, 2)), (7, 2)),
    "all of both counters where only the one of all requests fell": (
        looked(c1=errors(100, 5)),
        looked(c1=errors(50, 5)),
        (50, 5),
    ),
    "all of both where only the one of bad requests fell": (
        looked(c1=errors(10, 8)),
        looked(c1=errors(12, 6)),
        (12, 6),
    ),
    "all of both where the bad ones are as many again": (looked(c1=errors(100, 5)), looked(c1=errors(40, 9)), (40, 9)),
    "of two pods, all of the one that began anew": (
        looked(c1=errors(100, 5), c2=errors(100, 5)),
        looked(c1=errors(110, 6), c2=errors(20, 4)),
        (30, 5),
    ),
    "nothing of a pod that was not there before": (
        looked(c1=errors(1)),
        looked(c1=errors(2), c2=errors(500, 9)),
        (1, 0),
    ),
    "nothing of a pod that went": (looked(c1=errors(1), c2=errors(50)), looked(c1=errors(2)), (1, 0)),
    "nothing of a metric that was not there before": (looked(c1={}), looked(c1=errors(70, 7)), (0, 0)),
    "nothing from one side to the other": (looked(s1=errors(5)), looked(c1=errors(9)), (0, 0)),
}


@pytest.mark.parametrize("sentence", CASES)
def test_counts(sentence: str) -> None:
    before, after, (n, bad) = CASES[sentence]
    grown = since(record(before), after)
    assert grown["Candidate"].get("errors", Tally()) == Tally(n=n, bad=bad)
    assert not grown["Stable"]


def test_the_first_look_only_sets_the_mark() -> None:
    assert since(None, looked(c1=errors(100, 100))) == {"Stable": {}, "Candidate": {}}


def test_a_record_remembers_what_a_source_has_and_what_it_lacks() -> None:
    made = record(looked(s1={"errors": Tally(n=4, bad=1)}, c1={"slow": Tally(n=2)}))
    assert [(row.side, row.source, row.counts) for row in made.counters] == [
        ("Stable", "s1", ["4/1", "-"]),
        ("Candidate", "c1", ["-", "2/0"]),
    ]
    again = Looked.model_validate(made.wire())
    assert since(again, looked(s1={"errors": Tally(n=6, bad=1)}, c1={"slow": Tally(n=3, bad=1)})) == {
        "Stable": {"errors": Tally(n=2)},
        "Candidate": {"slow": Tally(n=1, bad=1)},
    }


def test_it_is_due_after_the_interval() -> None:
    before = record(looked())
    assert due(None, NOW)
    assert not due(before, NOW + timedelta(seconds=INTERVAL - 0.001))
    assert due(before, NOW + timedelta(seconds=INTERVAL))


def test_what_a_pod_counts_while_it_is_silent_is_not_lost() -> None:
    first = record(looked(c1=errors(100, 1), c2=errors(50)))
    stalls = without(looked(c2=errors(60)), "c1")
    second = record(stalls, first)
    assert [(row.source, row.counts) for row in second.counters] == [("c1", ["100/1"]), ("c2", ["60/0"])]
    still = record(without(looked(c2=errors(70)), "c1"), second)
    assert since(still, looked(c1=errors(120, 21), c2=errors(80)))["Candidate"] == {"errors": Tally(n=30, bad=20)}


def test_a_pod_that_went_is_not_waited_for() -> None:
    first = record(looked(c1=errors(100, 1), c2=errors(50)))
    second = record(without(looked(c2=errors(60))), first)
    assert [row.source for row in second.counters] == ["c2"]
    assert since(second, looked(c1=errors(120, 21)))["Candidate"] == {}


def test_a_pod_that_began_anew_while_it_was_silent_shows_what_it_has_counted_since() -> None:
    first = record(looked(c1=errors(100, 5), s1=errors(1)))
    second = record(without(looked(s1=errors(2)), "c1"), first)
    assert since(second, looked(c1=errors(7, 2)))["Candidate"] == {"errors": Tally(n=7, bad=2)}


def test_a_metric_that_is_not_counted_any_more_is_not_kept() -> None:
    first = record(looked(c1={"old": Tally(n=4), "errors": Tally(n=4)}, s1=errors(1)))
    second = record(without(looked(s1=errors(2)), "c1"), first)
    assert second.metrics == ["errors"]


def test_silent_sources_do_not_grow_without_end() -> None:
    many = record(Look(NOW, {"Candidate": {f"c{n:03}": errors(n) for n in range(ROWS)}}))
    later = looked(s1=errors(1))
    kept = record(without(later, *(f"c{n:03}" for n in range(ROWS))), many)
    assert len(kept.counters) == ROWS
    assert kept.counters[0].source == "s1"


def test_which_sources_had_a_metric() -> None:
    before = record(looked(s1=errors(1), c1={"slow": Tally(n=1)}, c2={"slow": Tally(n=1), "errors": Tally()}))
    assert sources(before, "Candidate", {"slow"}) == {"c1", "c2"}
    assert sources(before, "Candidate", {"errors"}) == {"c2"}
    assert sources(None, "Candidate", {"errors"}) == set()

"""What was counted between two looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from slipway.api.deployment import Looked, Tally
from slipway.serving.analysis.look import INTERVAL, Counts, Look, due, record, since

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def looked(**pods: Counts) -> Look:
    """Pods by name; those that begin with ``s`` are the stable version's."""
    sides = {"Stable": {n: c for n, c in pods.items() if n[0] == "s"}}
    return Look(NOW, {**sides, "Candidate": {n: c for n, c in pods.items() if n[0] == "c"}})  # type: ignore[dict-item]


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
    grown = since(record(before, ["errors"]), after)
    assert grown["Candidate"].get("errors", Tally()) == Tally(n=n, bad=bad)
    assert not grown["Stable"]


def test_the_first_look_only_sets_the_mark() -> None:
    assert since(None, looked(c1=errors(100, 100))) == {"Stable": {}, "Candidate": {}}


def test_a_record_remembers_what_a_source_has_and_what_it_lacks() -> None:
    made = record(looked(s1={"errors": Tally(n=4, bad=1)}, c1={"slow": Tally(n=2)}), ["errors", "slow"])
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
    before = record(looked(), [])
    assert due(None, NOW)
    assert not due(before, NOW + timedelta(seconds=INTERVAL - 0.001))
    assert due(before, NOW + timedelta(seconds=INTERVAL))

"""Whether clients stayed with their version while weights changed, by what a load with several clients was answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.load import Report


@dataclass(frozen=True)
class Rest:
    """A time in which weights stood still, in ``time.monotonic()``."""

    begun: float
    ended: float


def versions(report: Report, rest: Rest) -> dict[int, str]:
    """The version of each client at rest. What was on its way when the rest ended counts for nothing: on a slow
    machine the gateway may have seen it later.

    Raises:
        AssertionError: a client was answered by two versions.
    """
    made: dict[int, str] = {}
    for client, answers in report.by_client().items():
        seen = {str(a.version) for a in answers if rest.begun <= a.at and a.at + a.seconds <= rest.ended}
        assert len(seen) <= 1, f"the client {client} had answers of {sorted(seen)} while the weights stood still"
        if seen:
            made[client] = seen.pop()
    return made


def movers(report: Report, before: Rest, after: Rest) -> Mapping[int, tuple[str, str]]:
    """The clients that have another version after a change of weights, with both versions. All others stayed: no answer
    from the beginning of the one rest to the end of the other was of another version than theirs.

    Raises:
        AssertionError: one of the others had an answer of another version on the way.
    """
    then, now = versions(report, before), versions(report, after)
    answers = report.by_client()
    for client in then.keys() & now.keys():
        if then[client] == now[client]:
            on_the_way = [a for a in answers[client] if before.begun <= a.at and a.at + a.seconds <= after.ended]
            strange = [a for a in on_the_way if a.version != now[client]]
            assert not strange, f"the client {client} stays with {now[client]}, but on the way it had {strange}"
    return {c: (then[c], now[c]) for c in sorted(then.keys() & now.keys()) if then[c] != now[c]}

"""What one look at the counters of both sides brings, and what happened since the look before it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from slipway.api.common import parse_time
from slipway.api.deployment import Counters, Looked, Tally

Side = Literal["Stable", "Candidate"]
SIDES: Final[tuple[Side, Side]] = ("Stable", "Candidate")
REQUESTS: Final = "requests"
"""The metric of all requests: it tells in which proportion the traffic comes."""
DISAGREEMENT: Final = "disagreement"
"""The metric of a shadow: compared answers, and those that differ."""
NOT_COMPARED: Final = "not_compared"
"""The metric of a shadow's other answers: copies that were compared with nothing, and those that no stable pod knew.
No metric of a user can have this name."""
INTERVAL: Final = 0.7
"""Seconds between two looks. From the evidence in the counters to the weight write at most two seconds may pass."""
PODS: Final = 16
"""Pods of each side that are asked: a sample of more is as good, and the status must stay small."""
TROUBLE_LIMIT: Final = 1024
"""Characters of the trouble that is kept of a look."""
_NONE: Final = "-"

Counts = Mapping[str, Tally]
"""By metric, cumulative since the source began."""


@dataclass(frozen=True)
class Look:
    """Cumulative counts by side and source (a pod, or a series of Prometheus), read at a time.

    ``trouble`` says why somebody could not be asked.
    """

    at: datetime
    counts: Mapping[Side, Mapping[str, Counts]] = field(default_factory=dict)
    trouble: str = ""


def due(looked: Looked | None, now: datetime) -> bool:
    """Whether it is time for another look."""
    return looked is None or (now - parse_time(looked.at)).total_seconds() >= INTERVAL


def record(look: Look, metrics: Sequence[str]) -> Looked:
    """The look as a fact that the next one is compared with."""
    rows = [
        Counters(source=source, side=side, counts=[_text(counts.get(metric)) for metric in metrics])
        for side in SIDES
        for source, counts in sorted(look.counts.get(side, {}).items())
    ]
    at = look.at.isoformat(timespec="milliseconds")
    return Looked(at=at, metrics=list(metrics), counters=rows, trouble=look.trouble[:TROUBLE_LIMIT])


def blind(before: Looked | None, look: Look) -> Looked:
    """A look that brought no counter at all: the one before stays what the next one is compared with."""
    kept = before or record(look, [])
    return kept.model_copy(update={"trouble": look.trouble[:TROUBLE_LIMIT]})


def since(before: Looked | None, look: Look) -> Mapping[Side, Counts]:
    """What was counted since, by side and metric.

    A counter that has become smaller began anew (its pod restarted), so all that it shows is new. A source that was
    not there before only sets the mark: what it counted until now was not counted at the same time as the others.
    """
    known = dict(_known(before)) if before else {}
    made: dict[Side, dict[str, Tally]] = {side: {} for side in SIDES}
    for side in SIDES:
        for source, counts in look.counts.get(side, {}).items():
            for metric, now in counts.items():
                then = known.get((side, source, metric))
                if then is not None:
                    have = made[side].get(metric, Tally())
                    n, bad = _grown(then.n, now.n), _grown(then.bad, now.bad)
                    made[side][metric] = Tally(n=have.n + n, bad=have.bad + bad)
    return made


def covers(before: Looked, look: Look, metric: str, sources: Mapping[Side, Iterable[str]]) -> bool:
    """Whether both looks hold that metric of each of these sources: else what was counted since is only a part."""
    then = {(side, source) for (side, source, name), _ in _known(before) if name == metric}
    now = {(side, source) for side in SIDES for source, counts in look.counts.get(side, {}).items() if metric in counts}
    return {(side, source) for side, those in sources.items() for source in those} <= then & now


def add(a: Tally, b: Tally) -> Tally:
    """Both together."""
    return Tally(n=a.n + b.n, bad=a.bad + b.bad)


def total(looked: Looked | None, side: Side, metric: str) -> Tally:
    """What a side had counted at a look, since its pods began."""
    made = Tally()
    for (of, _, name), tally in _known(looked) if looked else ():
        made = add(made, tally) if (of, name) == (side, metric) else made
    return made


def _grown(then: int, now: int) -> int:
    return now - then if now >= then else now


def _text(tally: Tally | None) -> str:
    return f"{tally.n}/{tally.bad}" if tally else _NONE


def _known(before: Looked) -> Iterator[tuple[tuple[Side, str, str], Tally]]:
    for row in before.counters:
        for metric, text in zip(before.metrics, row.counts, strict=False):
            if text != _NONE:
                n, _, bad = text.partition("/")
                yield (row.side, row.source, metric), Tally(n=int(n), bad=int(bad))

"""What one look at the counters of both sides brings, and what happened since the look before it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from slipway.api.common import parse_time
from slipway.api.deployment import Counters, Looked, Tally

Side = Literal["Stable", "Candidate"]
SIDES: Final[tuple[Side, Side]] = ("Stable", "Candidate")
REQUESTS: Final = "requests"
"""The metric of all requests: it tells in which proportion the traffic comes."""
ERRORS: Final = "errors"
"""The metric of failed requests, which pods say whether it is judged or not."""
DISAGREEMENT: Final = "disagreement"
"""The metric of a shadow: compared answers, and those that differ."""
NOT_COMPARED: Final = "not_compared"
"""The metric of a shadow's other answers: copies that were compared with nothing, and those that no stable pod knew.
No metric of a user can have this name."""
INTERVAL: Final = 0.7
"""Seconds between two looks. From the evidence in the counters to the weight write at most two seconds may pass."""
PODS: Final = 16
"""Pods of each side that are asked: a sample of more is as good, and the status must stay small."""
ROWS: Final = 128
"""Sources that are remembered at most: the pods and the series that are looked at (``eyes``, ``prometheus``)."""
TROUBLE_LIMIT: Final = 1024
"""Characters of the trouble that is kept of a look."""
_NONE: Final = "-"

Counts = Mapping[str, Tally]
"""By metric, cumulative since the source began."""


@dataclass(frozen=True)
class Look:
    """Cumulative counts by side and source (a pod, or a series of Prometheus), read at a time.

    Attributes:
        trouble: why somebody could not be asked.
        silent: sources that are there and did not answer this time.
        metrics: what is counted now, whoever answered.
    """

    at: datetime
    counts: Mapping[Side, Mapping[str, Counts]] = field(default_factory=dict)
    trouble: str = ""
    silent: Mapping[Side, Collection[str]] = field(default_factory=dict)
    metrics: Collection[str] = ()

    @property
    def said(self) -> set[str]:
        """Of which metrics somebody said something."""
        return {metric for side in self.counts.values() for counts in side.values() for metric in counts}


def due(looked: Looked | None, now: datetime) -> bool:
    """Whether it is time for another look."""
    return looked is None or (now - parse_time(looked.at)).total_seconds() >= INTERVAL


def record(look: Look, before: Looked | None = None) -> Looked:
    """The look as a fact that the next one is compared with.

    Of a source that was silent, what it showed in ``before`` stays: what it counts meanwhile (slow answers and failed
    ones, where it is a pod that stalls) is new when it speaks again, and not forgotten.
    """
    said = {
        (side, source): {metric: _text(tally) for metric, tally in counts.items()}
        for side in SIDES
        for source, counts in look.counts.get(side, {}).items()
    }
    spoke = set(said)
    for (side, source, metric), tally in _known(before) if before else ():
        room = (side, source) in said or len(said) < ROWS
        # Metrics that the spec had before are nobody's any more.
        if source in look.silent.get(side, ()) and metric in look.metrics and room:
            said.setdefault((side, source), {})[metric] = _text(tally)
    order = sorted({metric for counts in said.values() for metric in counts})
    rows = [
        Counters(
            source=source,
            side=side,
            counts=[counts.get(metric, _NONE) for metric in order],
            silent=(side, source) not in spoke or None,
        )
        for (side, source), counts in sorted(said.items(), key=lambda row: (SIDES.index(row[0][0]), row[0][1]))
    ]
    at = look.at.isoformat(timespec="milliseconds")
    return Looked(at=at, metrics=order, counters=rows, trouble=look.trouble[:TROUBLE_LIMIT])


def blind(before: Looked | None, look: Look) -> Looked:
    """A look that brought no counter at all: the one before stays what the next one is compared with."""
    kept = before or record(look)
    return kept.model_copy(update={"trouble": look.trouble[:TROUBLE_LIMIT]})


def sources(before: Looked | None, side: Side, metrics: Collection[str]) -> set[str]:
    """The sources of a side that had one of these metrics."""
    known = _known(before) if before else ()
    return {source for at, source, metric in (key for key, _ in known) if at == side and metric in metrics}


def since(before: Looked | None, look: Look) -> Mapping[Side, Counts]:
    """What was counted since, by side and metric.

    Counters that have become smaller began anew (their pod restarted), so all that they show is new: those of all
    requests and of the bad ones together, also where the other one has grown beyond what it was. A source that was not
    there before only sets the mark: what it counted until now was not counted at the same time as the others.
    """
    known = dict(_known(before)) if before else {}
    made: dict[Side, dict[str, Tally]] = {side: {} for side in SIDES}
    for side in SIDES:
        for source, counts in look.counts.get(side, {}).items():
            for metric, now in counts.items():
                then = known.get((side, source, metric))
                if then is not None:
                    made[side][metric] = add(made[side].get(metric, Tally()), _grown(then, now))
    return made


def covers(before: Looked, look: Look, metric: str, sources: Mapping[Side, Iterable[str]]) -> bool:
    """Whether each of these sources told that metric at both looks: else what was counted since is only a part, or was
    counted over a longer time."""
    silent = {(row.side, row.source) for row in before.counters if row.silent}
    then = {(side, source) for (side, source, name), _ in _known(before) if name == metric} - silent
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


def _grown(then: Tally, now: Tally) -> Tally:
    if now.n < then.n or now.bad < then.bad:
        return now
    return Tally(n=now.n - then.n, bad=now.bad - then.bad)


def _text(tally: Tally) -> str:
    return f"{tally.n}/{tally.bad}"


def _known(before: Looked) -> Iterator[tuple[tuple[Side, str, str], Tally]]:
    for row in before.counters:
        for metric, text in zip(before.metrics, row.counts, strict=False):
            if text != _NONE:
                n, _, bad = text.partition("/")
                yield (row.side, row.source, metric), Tally(n=int(n), bad=int(bad))

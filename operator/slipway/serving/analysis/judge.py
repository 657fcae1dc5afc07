"""Looks -> evidence -> verdicts, and the sentences about them. Pure.

One e-value test a metric (``sequential.py``). Its state travels in ``status``, so a restart goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.api.deployment import Evidence, MetricAnalysis, Tally
from slipway.serving.analysis.look import Counts, Side, add
from slipway.serving.analysis.sequential import Block, OneSample, TwoSample, bounds

ALPHA: Final = 0.05
"""The chance that a rollout of a candidate that does no harm is aborted, however often one looks; and that one which
does harm passes a step. Shared by the metrics, and by what can go wrong with each: the two below."""
_COMPARED: Final = 0.04
"""Of it, for the comparison, over all steps and before and after a switch together."""
_PAST: Final = 0.01
"""Of it, for the bounds of the stable version's rate before a switch."""
_SAME: Final = 1e-9
"""Bounds that differ by less are the same: the last digit of a logarithm is the machine's."""
_MOST: Final = 1e9
"""Evidence beyond this is written as this."""


@dataclass(frozen=True)
class Watched:
    """One metric that is judged.

    Attributes:
        margin: how much larger the candidate's share may be; where ``alone``, how large it may be at all.
        least: requests of each side before it may pass.
        alone: there is no other side: the share is one of disagreement.
        question: what is counted under that name (a threshold, two queries).
    """

    name: str
    margin: float
    least: int
    alone: bool = False
    question: str = ""


def needed(metrics: int) -> float:
    """The e-value at which a verdict is given (Ville's inequality; the metrics share ``ALPHA``).

    >>> needed(1), needed(2)
    (25.0, 50.0)
    """
    return round(max(1, metrics) / _COMPARED, 6)


def before_switch(stable: Tally, bar: float) -> tuple[float, float]:
    """Between which two numbers the stable version's rate lay before it lost its traffic. For a metric of a rollout at
    whose ``bar`` verdicts are given, this and the comparison err together at most as often as ``ALPHA`` allows:

    >>> [1 / needed(metrics) + _PAST / _COMPARED / needed(metrics) for metrics in (1, 2)]
    [0.05, 0.025]
    >>> low, high = before_switch(Tally(n=20), needed(1))
    >>> low, round(high, 3)
    (0.0, 0.284)
    """
    return bounds(stable.n, stable.bad, _PAST / _COMPARED / bar)


def look_back(before: Sequence[MetricAnalysis], watched: Iterable[Watched], stable: Counts) -> list[MetricAnalysis]:
    """What is known of metrics that are not judged now, with what the stable version showed: for a look back after a
    switch."""
    known = {entry.metric: entry for entry in before}
    made = []
    for metric in watched:
        entry = _entry(known, metric)
        if not metric.alone:
            entry = entry.model_copy(update={"reference": _sum(entry.reference, stable.get(metric.name))})
        made.append(entry)
    return made


def judge(
    before: Sequence[MetricAnalysis],
    watched: Iterable[Watched],
    grown: Mapping[Side, Counts],
    *,
    bar: float,
    switched: bool,
) -> list[MetricAnalysis]:
    """The analysis after a look.

    Args:
        grown: what was counted since the look before.
        bar: the e-value at which a verdict is given.
        switched: the stable version has no traffic any more; the candidate is held against what it showed before.
    """
    known = {entry.metric: entry for entry in before}
    stable, candidate = grown.get("Stable", {}), grown.get("Candidate", {})
    return [
        _judged(
            _entry(known, metric),
            metric,
            _sane(stable.get(metric.name)),
            _sane(candidate.get(metric.name)),
            bar,
            switched,
        )
        for metric in watched
    ]


def next_step(entries: Iterable[MetricAnalysis]) -> list[MetricAnalysis]:
    """The analysis as a new step begins: it must show anew that there is no harm, while evidence of harm stays, also
    over a switch."""
    made = []
    for entry in entries:
        evidence, text = Evidence(), ""
        if found := _load(entry.test):
            test = found.next_step()
            evidence, text = Evidence(harm=_text(test.harm), no_harm=_text(test.no_harm)), _dump(test)
        made.append(
            MetricAnalysis(
                metric=entry.metric,
                question=entry.question,
                reference=entry.reference,
                test=text,
                evidence=evidence,
                needed=entry.needed,
            )
        )
    return made


def _entry(known: Mapping[str, MetricAnalysis], metric: Watched) -> MetricAnalysis:
    """What is known of a metric. A person who changed what is counted asks another question, of which nothing is."""
    entry = known.get(metric.name)
    if entry is not None and entry.question == metric.question:
        return entry
    return MetricAnalysis(metric=metric.name, question=metric.question)


def _judged(
    entry: MetricAnalysis, metric: Watched, stable: Tally, candidate: Tally, bar: float, switched: bool
) -> MetricAnalysis:
    reference = entry.reference
    if not (switched or metric.alone):
        reference = _sum(reference, stable)
    found = _load(entry.test)
    test: TwoSample | OneSample
    if metric.alone or switched:
        low, high = (0.0, 0.0) if metric.alone else before_switch(reference or Tally(), bar)
        low, high = min(1.0, low + metric.margin), min(1.0, high + metric.margin)
        one = _one(found, low, high, metric.margin)
        test, goes_on = (one or OneSample.start(high, low)).see(candidate.n, candidate.bad), one is not None
    else:
        two = _two(found, metric.margin)
        block = Block(stable.n, stable.bad, candidate.n, candidate.bad)
        test, goes_on = (two or TwoSample.start(metric.margin)).see(block), two is not None
    if found is not None and not goes_on:
        # A person changed what is tolerated: another question, and what was shown of the one before says nothing of it.
        entry = MetricAnalysis(metric=entry.metric, question=entry.question)
    seen = entry.model_copy(
        update={
            "stable": add(entry.stable, stable),
            "candidate": add(entry.candidate, candidate),
            "evidence": Evidence(harm=_text(test.harm), no_harm=_text(test.no_harm)),
            "needed": f"{bar:g}",
            "reference": reference,
            "test": _dump(test),
        }
    )
    verdict = _verdict(seen, metric, test, bar, compared=not switched)
    return seen.model_copy(update={"verdict": verdict, "message": _sentence(seen, metric, switched)})


def _verdict(seen: MetricAnalysis, metric: Watched, test: TwoSample | OneSample, bar: float, *, compared: bool) -> str:
    # What was shown once in this step stays shown: the guarantee is about all looks together.
    if test.harm >= bar or seen.verdict == "Harm":
        return "Harm"
    other = metric.least if metric.alone else _other(seen, compared=compared).n
    enough = min(seen.candidate.n, other) >= metric.least
    if enough and (test.no_harm >= bar or seen.verdict == "NoHarm"):
        return "NoHarm"
    return "Undecided" if seen.candidate.n and other else "NoTraffic"


def _other(seen: MetricAnalysis, *, compared: bool) -> Tally:
    """What the candidate is held against: the stable version in this step, or before the switch."""
    return seen.stable if compared else seen.reference or Tally()


def _one(found: TwoSample | OneSample | None, low: float, high: float, margin: float) -> OneSample | None:
    """The test against a number as it was; where the stable version just lost its traffic, with the evidence of harm
    from before. None where there is none of this question."""
    if isinstance(found, OneSample) and _same(found.bound, high) and _same(found.low, low):
        return found
    if isinstance(found, TwoSample) and _same(found.margin, margin):
        return found.against_past(low, high)
    return None


def _two(found: TwoSample | OneSample | None, margin: float) -> TwoSample | None:
    """As of ``_one``. A way back from all traffic comes only of a spec that was changed."""
    return found if isinstance(found, TwoSample) and _same(found.margin, margin) else None


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= _SAME


def _load(text: str) -> TwoSample | OneSample | None:
    """The test as it was; None where the state is of another version of this operator: then it begins anew."""
    kind, _, state = text.partition(":")
    try:
        return TwoSample.load(state) if kind == "two" else OneSample.load(state)
    except ValueError:
        return None


def _dump(test: TwoSample | OneSample) -> str:
    return f"{'two' if isinstance(test, TwoSample) else 'one'}:{test.dump()}"


def _sum(a: Tally | None, b: Tally | None) -> Tally:
    return add(a or Tally(), _sane(b))


def _sane(tally: Tally | None) -> Tally:
    """Two counters that are read a moment apart may for a moment say that more are bad than there are."""
    return Tally(n=tally.n, bad=min(tally.bad, tally.n)) if tally else Tally()


# ---------------------------------------------------------------------------------------------------- sentences


def summary(entries: Sequence[MetricAnalysis]) -> str:
    """What a person wants to read: how many requests, and each metric with its verdict.

    >>> summary([])
    ''
    """
    told = [e.message + _MEANS[e.verdict] for e in entries if e.message]
    if not told:
        return ""
    count = max(e.candidate.n for e in entries)
    return f"{count:,} {'request' if count == 1 else 'requests'}, {', '.join(told)}"


_MEANS: Final = {
    "NoTraffic": " (no traffic)",
    "Undecided": " (more samples needed)",
    "NoHarm": " (no harm)",
    "Harm": " (harm)",
}


def _sentence(seen: MetricAnalysis, metric: Watched, switched: bool) -> str:
    mine = _percent(seen.candidate)
    if metric.alone:
        return f"{seen.metric} {mine}, {_number(metric.margin)} allowed"
    other = _other(seen, compared=not switched)
    if not switched:
        return f"{seen.metric} {mine} against {_percent(other)}"
    told = f"{seen.metric} {mine} against {_percent(other)} before the switch"
    # It gets no more: what there is must do, or a person says what follows (docs/analysis.md).
    return (
        told if other.n >= metric.least else f"{told}, too few to pass: {other.n} requests, minSamples {metric.least}"
    )


def _percent(tally: Tally) -> str:
    return _number(tally.bad / tally.n) if tally.n else "-"


def _number(share: float) -> str:
    """A share as percent with as many digits as say something.

    >>> _number(0.002), _number(0.5), _number(0), _number(0.000123)
    ('0.2%', '50%', '0%', '0.012%')
    """
    return f"{100 * share:.2g}%" if share < 0.1 else f"{100 * share:.3g}%"


def _text(evidence: float) -> str:
    return f"{min(evidence, _MOST):.3g}"

"""The gate: bounds that the metrics of a run must keep, and the champion that it must not fall behind. Pure.

A comparison is only one where both were measured on the same data: the data sets that the gate names (or all, of the
run and of the champion alike: nobody knows on which of them a metric was measured) must have the digests that the
champion's lineage has. Where they differ, the gate is not passed: that the new
model is no worse was asked for, and nobody can say it. Where no version holds the alias there is nothing to fall
behind, and the first version of a model passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import Final

from slipway import contract
from slipway.api import aliases
from slipway.api.model_version import ModelVersionStatus
from slipway.api.training_run import Champion, Gate, GateLineage, NotWorseThan
from slipway.kube.objects import Manifest

ONLY_SOME: Final = ". Where the metric is measured on some of the data only, name those in notWorseThan.data"
"""What to write where all data sets had to be the same."""


@dataclass(frozen=True)
class Judged:
    """What one gate says, with its numbers."""

    passed: bool
    lineage: GateLineage

    @property
    def message(self) -> str:
        """One sentence."""
        return self.lineage.message


@dataclass(frozen=True)
class Measured:
    """What a run has to show: the values of its metrics, and the digests of its data, by name."""

    metrics: Mapping[str, str]
    data: Mapping[str, str]

    @classmethod
    def of(cls, result: contract.TrainResult) -> Measured:
        """From what the trainer reported."""
        return cls({m.name: m.value for m in result.metrics}, {d.name: d.digest for d in result.data})


def judge(gates: Iterable[Gate], run: Measured, versions: Iterable[Manifest]) -> list[Judged]:
    """What each gate says.

    Args:
        versions: those of the run's model; one of them may hold the alias of a comparison.

    >>> run = Measured({"accuracy": "0.91"}, {})
    >>> [(j.passed, j.message) for j in judge([Gate(metric="accuracy", min="0.95")], run, ())]
    [(False, "accuracy 0.91 is below the gate's min 0.95")]
    >>> [(j.passed, j.message) for j in judge([Gate(metric="accuracy", min="0.910", max="1")], run, ())]
    [(True, "accuracy 0.91 is at least the gate's min 0.910 and at most its max 1")]
    >>> [j.message for j in judge([Gate(metric="f1", min="0.9")], run, ())]
    ['the training reported no f1 (it reported accuracy)']
    """
    known = list(versions)
    return [_one(gate, run, known) for gate in gates]


def missed(judged: Iterable[Judged]) -> str | None:
    """A sentence about every gate that was not passed; None where all were."""
    return "; ".join(j.message for j in judged if not j.passed) or None


def _one(gate: Gate, run: Measured, versions: Sequence[Manifest]) -> Judged:
    name = gate.metric
    value = _number(run.metrics.get(name))
    if name not in run.metrics:
        reported = ", ".join(sorted(run.metrics)) or "no metric"
        return _judged(gate, False, f"the training reported no {name} (it reported {reported})")
    text = run.metrics[name]
    if value is None:
        return _judged(gate, False, f"{name} {text} is no number")
    if gate.min is not None and value < Decimal(gate.min):
        return _judged(gate, False, f"{name} {text} is below the gate's min {gate.min}")
    if gate.max is not None and value > Decimal(gate.max):
        return _judged(gate, False, f"{name} {text} is above the gate's max {gate.max}")
    bounds = [f"at least the gate's min {gate.min}"] if gate.min is not None else []
    if gate.max is not None:
        bounds.append(f"at most its max {gate.max}" if bounds else f"at most the gate's max {gate.max}")
    kept = f"{name} {text} is {' and '.join(bounds)}" if bounds else ""
    if gate.not_worse_than is None:
        return _judged(gate, True, kept)
    return _compared(gate, gate.not_worse_than, run, versions, kept)


def _compared(gate: Gate, asked: NotWorseThan, run: Measured, versions: Sequence[Manifest], kept: str) -> Judged:
    name, text = gate.metric, run.metrics[gate.metric]
    champion = aliases.holder(versions, asked.alias)
    if champion is None:
        words = f"no version holds {asked.alias}: {name} {text} was compared with none"
        return _judged(gate, True, f"{kept}; {words}" if kept else words, Champion(alias=asked.alias))
    holder = champion["metadata"]["name"]
    who = f"{holder}, which holds {asked.alias}"
    lineage = _status(champion).lineage
    theirs = {m.name: m.value for m in lineage.metrics} if lineage else {}
    measured = {d.name: d.digest for d in lineage.data} if lineage else {}
    compared = asked.data or sorted({*run.data, *measured})
    if why := next((said for name in compared if (said := _elsewhere(name, run.data, measured))), None):
        hint = "" if asked.data or not measured else ONLY_SOME
        words = f"{name} cannot be compared with {who}: {why}{hint}"
        return _judged(gate, False, words, Champion(alias=asked.alias, model_version=holder))
    value, mark = _number(text), _number(theirs.get(name))
    against = Champion(alias=asked.alias, model_version=holder, value=theirs.get(name))
    if value is None or mark is None:
        words = f"cannot be compared with {who}: its lineage has no number for {name}"
        return _judged(gate, False, f"{name} {words}", against)
    with localcontext(Context(traps=[])):  # infinity less infinity is an answer here, and no error
        behind = mark - value if gate.higher_is_better else value - mark
    if not behind.is_finite():
        words = f"{name} {text} cannot be compared with {who}: nobody can say how far it is from {theirs[name]}"
        return _judged(gate, False, words, against)
    same = f"on the same {', '.join(compared)}"
    if behind > Decimal(asked.by):
        words = f"{name} {text} is more than {asked.by} worse than the {theirs[name]} of {who}, {same}"
        return _judged(gate, False, words, against)
    words = f"{name} {text} is no more than {asked.by} worse than the {theirs[name]} of {who}, {same}"
    return _judged(gate, True, f"{kept}; {words}" if kept else words, against)


def _elsewhere(name: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> str | None:
    """How the champion's data set of a name is another than this run's; None where both read the same."""
    if name not in ours:
        return (
            f"it read {theirs[name]} as {name}, and this run read none" if name in theirs else f"neither read a {name}"
        )
    if name not in theirs:
        return f"it read no data set of that name, and this run read {ours[name]} as {name}"
    if ours[name] != theirs[name]:
        return f"it read {theirs[name]}, and this run read {ours[name]} as {name}"
    return None


def _judged(gate: Gate, passed: bool, message: str, against: Champion | None = None) -> Judged:
    return Judged(passed, GateLineage(metric=gate.metric, message=message[:1024], against=against))


def _number(text: str | None) -> Decimal | None:
    try:
        value = Decimal(text) if text is not None else None
    except InvalidOperation:
        return None
    return None if value is None or value.is_nan() else value


def _status(version: Manifest) -> ModelVersionStatus:
    return ModelVersionStatus.model_validate(version.get("status") or {})

"""The gate: bounds that the metrics of a run must keep. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

from slipway import contract
from slipway.api.training_run import Gate


def missed(gates: Iterable[Gate], metrics: Sequence[contract.Metric]) -> str | None:
    """A sentence about every bound that is not kept; None where all are.

    >>> missed([Gate(metric="accuracy", min="0.95")], [contract.Metric("accuracy", "0.91")])
    "accuracy 0.91 is below the gate's min 0.95"
    >>> missed([Gate(metric="accuracy", min="0.95")], [contract.Metric("accuracy", "0.950")])
    >>> missed([Gate(metric="f1", min="0.9")], [contract.Metric("accuracy", "0.91")])
    'the training reported no f1 (it reported accuracy)'
    """
    values = {m.name: m.value for m in metrics}
    found = [sentence for gate in gates if (sentence := _one(gate, values))]
    return "; ".join(found) or None


def _one(gate: Gate, values: dict[str, str]) -> str | None:
    if gate.metric not in values:
        return f"the training reported no {gate.metric} (it reported {', '.join(sorted(values)) or 'no metric'})"
    text = values[gate.metric]
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if value.is_nan():
        return f"{gate.metric} {text} is no number"
    if gate.min is not None and value < Decimal(gate.min):
        return f"{gate.metric} {text} is below the gate's min {gate.min}"
    if gate.max is not None and value > Decimal(gate.max):
        return f"{gate.metric} {text} is above the gate's max {gate.max}"
    return None

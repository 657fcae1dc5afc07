"""Where the training is: written by the training code, read by the HTTP endpoint."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping
from typing import Final

from slipway.contract import Metric, Progress

from . import failures
from .failures import TrainerError

log = logging.getLogger(__name__)

METRIC_LIMIT: Final = 32
"""Names kept: they stand in the object's status, which must stay small. The log names those left out."""
NAME_LIMIT: Final = 63
"""Letters of a metric's name."""


def number_text(value: float) -> str:
    """A number as text, the shortest that reads back as the same number.

    Rounding here would let a gate pass that the model missed.

    >>> number_text(0.1 + 0.2), number_text(3), number_text(float("nan"))
    ('0.30000000000000004', '3', 'NaN')
    """
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def as_number(name: str, value: object) -> float | int:
    """A metric's value as a Python number; scalars of numpy and torch have ``item()``.

    Raises:
        TrainerError: the name is no text of 1 to 63 letters, or the value no number.
    """
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT or not name.isprintable():
        raise TrainerError(
            failures.METRIC_INVALID,
            f"a metric is named {str(name)[:80]!r}: give it a name of 1 to {NAME_LIMIT} letters",
        )
    item = getattr(value, "item", None)
    if callable(item):
        try:
            value = item()
        except (ValueError, RuntimeError):  # an array or a tensor of several numbers
            value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TrainerError(
            failures.METRIC_INVALID,
            f"the metric {name!r} is not one number: report a number, such as {name}=float(value)",
        )
    return value


def smaller_is_better(name: str) -> bool:
    """Whether a metric's best value is its smallest: the name ends with ``loss`` or ``error``.

    The direction of other metrics is not known, so their largest value is kept as the best.

    >>> smaller_is_better("val_loss"), smaller_is_better("accuracy")
    (True, False)
    """
    return name.lower().endswith(("loss", "error"))


class ProgressBoard:
    """The newest progress. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress = Progress()
        self._metrics: dict[str, tuple[float, float]] = {}
        self._left_out: set[str] = set()

    def read(self) -> Progress:
        with self._lock:
            return self._progress

    def tell(self, message: str) -> None:
        """Say what is done where no step is known."""
        with self._lock:
            old = self._progress
            self._progress = Progress(old.step, old.of, old.metrics, message)

    def step(self, step: int, of: int, metrics: Mapping[str, object]) -> None:
        """Record a step and what was measured; a value that is not a number leaves the best as it was."""
        values = {name: as_number(name, value) for name, value in metrics.items()}
        with self._lock:
            for name, value in values.items():
                if name in self._metrics or len(self._metrics) < METRIC_LIMIT:
                    self._metrics[name] = (value, self._best(name, value))
                elif name not in self._left_out:
                    self._left_out.add(name)
                    log.warning("metric left out of the status, which holds %d names name=%s", METRIC_LIMIT, name)
            shown = [Metric(n, number_text(v), number_text(b)) for n, (v, b) in self._metrics.items()]
            self._progress = Progress(step, of, shown, "")

    def best(self, name: str, value: float) -> float:
        """The best value of a name that was reported so far, ``value`` included."""
        with self._lock:
            return self._best(name, value)

    def _best(self, name: str, value: float) -> float:
        if name not in self._metrics:
            return value
        known = self._metrics[name][1]
        if math.isnan(value):
            return known
        if math.isnan(known):
            return value
        return min(known, value) if smaller_is_better(name) else max(known, value)

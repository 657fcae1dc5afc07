"""Whether two answers to one request agree. Pure.

    own    the other's                     outcome
    2xx    2xx                             their outputs are compared, see below
    2xx    4xx                             ``error``: exactly one side refused
    other  2xx                             ``error``
    any    5xx, or its client left         not compared: a fault of the version that serves clients is no fault of the
    other  4xx                             one that is tried; and two refusals say nothing about two models

Each output that both models have (by name) is compared by what its signature says it is:

    scores   the top class of each row. Two classes that either side holds for equal within the tolerance are a tie,
             and a tie agrees. Not the scores themselves: a model that was trained anew gives other ones.
    labels   integers of shape [-1] or [-1, 1], booleans, texts: equal or not.
    numbers  |own - other| <= absolute + relative * |other|, element by element, as numpy.isclose.

NaN agrees with NaN and with nothing else, an infinity with the same infinity. A NaN among one side's scores where the
other has none is a ``numeric`` disagreement. Other shapes disagree. A request disagrees at most once:
``error``, before ``class``, before ``numeric``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from slipway.contract import Comparison
from slipway_server import reasons
from slipway_server.answers import REPEATED, SAMPLE, Summary
from slipway_server.reasons import LoadError
from slipway_server.signature import BYTES, DTYPES, Array, Role, TensorPlan

AGREED: Final = "agreed"
NUMERIC: Final = "numeric"
CLASS: Final = "class"
ERROR: Final = "error"
KINDS: Final = (NUMERIC, CLASS, ERROR)
"""Ways to disagree."""

UNANSWERED: Final = "unanswered"
"""One side gave no outputs by no fault of the other's, or both gave none."""
INCOMPARABLE: Final = "incomparable"
"""The models have no output in common."""
REPEATED_ID: Final = "repeated"
"""Two requests had the same id."""
UNIDENTIFIED: Final = "unidentified"
"""The request had no id, or one too long."""
OVERFLOW: Final = "overflow"
"""More came at once than is compared, or the answer is too large."""
UNCOMPARED: Final = (UNANSWERED, INCOMPARABLE, REPEATED_ID, UNIDENTIFIED, OVERFLOW)
"""Why a request was answered and not compared, beside that no peer knew it."""


@dataclass(frozen=True)
class Tolerance:
    """By how much two numbers may differ."""

    absolute: float
    relative: float

    @classmethod
    def of(cls, comparison: Comparison) -> Tolerance:
        """Read the texts of the contract.

        Raises:
            LoadError: one is no number, or below 0.
        """
        values: list[float] = []
        for name, text in (("absolute", comparison.absolute), ("relative", comparison.relative)):
            try:
                values.append(float(text))
            except ValueError:
                values.append(np.nan)
            if not 0 <= values[-1] < np.inf:
                raise LoadError(
                    reasons.SPEC_INVALID, f"the {name} tolerance {text!r} must be a number of at least 0, like 1e-4"
                )
        return cls(*values)

    def holds(self, own: Array, other: Array) -> Array:
        """Element by element, whether the two agree.

        >>> t = Tolerance(absolute=0.1, relative=0.01)
        >>> t.holds(np.array([1.1, 1.2, 102.0, 102.2]), np.array([1.0, 1.0, 101.0, 101.0])).tolist()
        [True, False, True, False]
        """
        with np.errstate(all="ignore"):
            a, b = own.astype(np.float64), other.astype(np.float64)
            close: Array = _distance(own, other, a, b) <= self.absolute + self.relative * np.abs(b)
            close &= np.isfinite(a) & np.isfinite(b)
            close |= (own == other) | (np.isnan(a) & np.isnan(b))
        return close


def _distance(own: Array, other: Array, a: Array, b: Array) -> Array:
    """Of large integers exactly: as float64, 2**53 and 2**53 + 1 are the same."""
    apart: Array
    if own.dtype.kind == other.dtype.kind and own.dtype.kind in "iu":
        wide = np.int64 if own.dtype.kind == "i" else np.uint64
        c, d = own.astype(wide), other.astype(wide)
        # Modulo 2**64, which the true distance is below.
        apart = (np.maximum(c, d).view(np.uint64) - np.minimum(c, d).view(np.uint64)).astype(np.float64)
        return apart
    apart = np.abs(a - b)
    return apart


@dataclass(frozen=True)
class _Pair:
    """One output that both models have: its places, types, and how it is compared."""

    own: int
    other: int
    own_type: np.dtype[np.generic]
    other_type: np.dtype[np.generic]
    compare: Callable[[Array, Array, Tolerance], str]


class Judge:
    """Compares answers of one model (``outputs`` of its signature) with those of others."""

    def __init__(self, outputs: tuple[TensorPlan, ...], tolerance: Tolerance) -> None:
        self._outputs = outputs
        self._tolerance = tolerance
        self._pairs = lru_cache(maxsize=8)(self._pair)

    def judge(self, own: Summary, other: Summary, others: tuple[tuple[str, str], ...]) -> str:
        """``AGREED``, one of ``KINDS``, or one of ``UNCOMPARED``; ``others``: the other's outputs."""
        if other[0] == REPEATED:
            return REPEATED_ID
        if other[0] >= 499:
            return UNANSWERED
        if own[0] >= 300 or other[0] >= 300:
            if own[0] >= 300 and other[0] >= 300:
                return UNANSWERED
            return ERROR if own[0] != 499 else UNANSWERED
        pairs = self._pairs(others)
        if not pairs:
            return INCOMPARABLE
        worst = AGREED
        for pair in pairs:
            found = self._compare(pair, own, other)
            if found == CLASS:
                return CLASS
            if found == NUMERIC:
                worst = NUMERIC
        return worst

    def _compare(self, pair: _Pair, own: Summary, other: Summary) -> str:
        shape, others = own[1][pair.own], other[1][pair.other]
        piece, theirs = own[2][pair.own], other[2][pair.other]
        if shape == others and piece == theirs and pair.own_type == pair.other_type:
            return AGREED
        if shape != others and (pair.compare is not _top or shape[:1] != others[:1]):
            return NUMERIC
        a, b = np.frombuffer(piece, pair.own_type), np.frombuffer(theirs, pair.other_type)
        if pair.compare is not _top:
            return pair.compare(a, b, self._tolerance)
        if len(others) != 2 or not 2 <= others[1] <= SAMPLE:
            return NUMERIC
        return _top(a.reshape(-1, shape[1]), b.reshape(-1, others[1]), self._tolerance)

    def _pair(self, others: tuple[tuple[str, str], ...]) -> tuple[_Pair, ...]:
        index = {name: i for i, (name, _) in enumerate(others)}
        pairs: list[_Pair] = []
        for i, tensor in enumerate(self._outputs):
            if tensor.name not in index:
                continue
            datatype = others[index[tensor.name]][1]
            own_type, other_type = _kept_type(tensor.datatype), _kept_type(datatype)
            text = BYTES in (tensor.datatype, datatype)
            compare = _never if text and tensor.datatype != datatype else _COMPARE[tensor.role]
            pairs.append(_Pair(i, index[tensor.name], own_type, other_type, compare))
        return tuple(pairs)


def _kept_type(datatype: str) -> np.dtype[np.generic]:
    """Of a text its hash is kept."""
    return np.dtype("<u8") if datatype == BYTES else DTYPES[datatype]


def _numbers(own: Array, other: Array, tolerance: Tolerance) -> str:
    return AGREED if bool(tolerance.holds(own, other).all()) else NUMERIC


def _labels(own: Array, other: Array, tolerance: Tolerance) -> str:
    return AGREED if np.array_equal(own, other) else CLASS


def _never(own: Array, other: Array, tolerance: Tolerance) -> str:
    return CLASS


def _top(own: Array, other: Array, tolerance: Tolerance) -> str:
    if len(own) != len(other):  # rows of unlike length may be sampled in unlike number
        return NUMERIC
    none, others = np.isnan(own).any(axis=1), np.isnan(other).any(axis=1)
    if (none != others).any():
        return NUMERIC
    mine, theirs = own.argmax(axis=1), other.argmax(axis=1)
    for row in np.flatnonzero((mine != theirs) & ~none):
        if not _tie(own[row], other[row], int(mine[row]), int(theirs[row]), tolerance):
            return CLASS
    return AGREED


def _tie(own: Array, other: Array, mine: int, theirs: int, tolerance: Tolerance) -> bool:
    """Whether either side holds the two classes for equally likely."""
    return any(
        second < len(scores) and tolerance.holds(scores[second : second + 1], scores[first : first + 1])[0]
        for scores, first, second in ((own, mine, theirs), (other, theirs, mine))
    )


_COMPARE: Final[dict[Role, Callable[[Array, Array, Tolerance], str]]] = {
    Role.SCORES: _top,
    Role.LABELS: _labels,
    Role.NUMBERS: _numbers,
}

"""What is known of one column: of a batch, of a file, of the whole set. All three are the same thing, merged."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .frequent import ROOM, Frequent
from .quantiles import Quantiles

if TYPE_CHECKING:
    from .rows import Cells

SHARES: Final = (0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99)
"""The quantiles that a profile holds: deciles to compare distributions by, quartiles and tails to read."""
TOP: Final = 20
"""Values that a profile names as the most frequent."""
NUMERIC: Final = ("Integer", "Number", "Boolean", "Timestamp")
"""Kinds that have a smallest, a largest and a mean; a time is its microseconds since 1970."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def widen(one: str | None, other: str | None) -> str | None:
    """The kind of values of both kinds together.

    >>> widen("Integer", "Number"), widen(None, "Boolean"), widen("Integer", "Boolean")
    ('Number', 'Boolean', 'String')
    """
    if one == other or other is None:
        return one
    if one is None:
        return other
    if "Other" in (one, other):
        return "Other"
    return "Number" if {one, other} == {"Integer", "Number"} else "String"


class Column:
    """Counts, moments, quantiles and frequent values. ``missing`` of ``count`` values are not there."""

    def __init__(self) -> None:
        self.kind: str | None = None
        self.count = 0
        self.missing = 0
        self.wrong = 0
        """Values that are not of the declared type; they count, and are looked at no further."""
        self.first_missing: int | None = None
        """Row, from 1, of the first missing value in the file; only where this is of one file."""
        self.infinite = 0
        self.smallest: float | int | None = None
        self.largest: float | int | None = None
        self.shape: list[int] | None = None
        """Of one row of an array (NPZ); -1 where files differ."""
        self.frequent = Frequent()
        self._mean = 0.0
        self._squares = 0.0
        self._quantiles = Quantiles()

    def add(self, cells: Cells, row: int) -> None:
        """Take in a batch of values, ``row`` (from 1) being that of the first; a NaN is missing."""
        values, kind, wrong = cells.values, cells.kind, cells.wrong
        if kind == "Number":
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        self.count += len(values)
        bad = (pc.sum(wrong).as_py() or 0) if wrong is not None else 0
        self.wrong += bad
        if values.null_count:
            lost = pc.is_null(values) if not bad else pc.and_(pc.is_null(values), pc.invert(wrong))
            if missing := pc.sum(lost).as_py():
                self.missing += missing
                if self.first_missing is None:
                    self.first_missing = row + cells.place(pc.index(lost, pa.scalar(True)).as_py())
            values = values.drop_null()
        if not len(values):
            return
        self._become(widen(self.kind, kind))
        if kind in NUMERIC and self.kind in NUMERIC:
            self._add_numbers(_numbers(values, kind), exact=values if kind in ("Integer", "Timestamp") else None)
        if kind in ("Number", "Timestamp", "Other"):
            self.frequent.skip(len(values))  # rarely does one come twice, and a histogram tells more
        else:
            self._add_frequent(values)

    def merge(self, other: Column) -> None:
        """Take in another file's column; the order of files decides about the last digits, nothing else."""
        if other.count and self.count and self.shape != other.shape:
            self.shape = _common_shape(self.shape, other.shape)
        elif other.count:
            self.shape = other.shape
        self.count += other.count
        self.missing += other.missing
        self.wrong += other.wrong
        self.frequent.merge(other.frequent)
        self._become(widen(self.kind, other.kind))
        if self.kind not in NUMERIC or other.kind not in NUMERIC:
            return
        self.infinite += other.infinite
        self._extend(other.smallest, other.largest)
        self._moments(other._quantiles.count, other._mean, other._squares)
        self._quantiles.merge(other._quantiles)

    def describe(self, name: str) -> dict[str, Any]:
        """The column as a profile holds it."""
        made: dict[str, Any] = {"name": name, "type": self.kind or "Unknown", "count": self.count}
        made["missing"] = self.missing
        if self.wrong:
            made["wrong"] = self.wrong
        if self.shape is not None:
            made["shape"] = self.shape
        if self.kind in NUMERIC and self.smallest is not None and self.largest is not None:
            made["min"], made["max"] = self._shown(self.smallest), self._shown(self.largest)
            if self.infinite:
                made["infinite"] = self.infinite
            if finite := self._quantiles.count:
                made["mean"] = self._shown(self._mean)
                if self.kind != "Timestamp":
                    made["std"] = _digits(math.sqrt(self._squares / finite))
                if self.kind != "Boolean":
                    found = self._quantiles.at(SHARES)
                    made["quantiles"] = {str(s): self._shown(v) for s, v in zip(SHARES, found, strict=True)}
        if self.frequent.distinct is not None:
            made["distinct"] = self.frequent.distinct
        if (top := self.frequent.top(TOP)) and top[0][1] > 1:  # where each came once, none is frequent
            made["top"] = [{"value": value, "count": count} for value, count in top]
            if self.frequent.error:
                made["topCountsLowBy"] = self.frequent.error
        return made

    def dump(self) -> dict[str, Any]:
        """JSON types; ``load`` reads them back."""
        made: dict[str, Any] = {"k": self.kind, "n": self.count, "m": self.missing, "f": self.frequent.dump()}
        if self.wrong:
            made["w"] = self.wrong
        if self.first_missing is not None:
            made["fm"] = self.first_missing
        if self.shape is not None:
            made["s"] = self.shape
        if self.smallest is not None:
            made |= {"lo": self.smallest, "hi": self.largest, "inf": self.infinite}
            made |= {"mean": self._mean, "sq": self._squares, "q": self._quantiles.dump()}
        return made

    @classmethod
    def load(cls, raw: dict[str, Any]) -> Column:
        """What ``dump`` gave."""
        made = cls()
        made.kind, made.count, made.missing = raw["k"], raw["n"], raw["m"]
        made.wrong, made.first_missing, made.shape = raw.get("w", 0), raw.get("fm"), raw.get("s")
        made.frequent = Frequent.load(raw["f"])
        if "lo" in raw:
            made.smallest, made.largest, made.infinite = raw["lo"], raw["hi"], raw["inf"]
            made._mean, made._squares = raw["mean"], raw["sq"]
            made._quantiles = Quantiles.load(raw["q"])
        return made

    def _become(self, kind: str | None) -> None:
        self.kind = kind
        if kind is not None and kind not in NUMERIC and self.smallest is not None:
            self.smallest = self.largest = None
            self.infinite, self._mean, self._squares, self._quantiles = 0, 0.0, 0.0, Quantiles()

    def _add_numbers(self, numbers: np.ndarray[Any, np.dtype[np.float64]], exact: pa.Array | None) -> None:
        if exact is not None:  # a float has 53 bits, an integer up to 64
            ends = pc.min_max(exact).as_py()
            self._extend(ends["min"], ends["max"])
        else:
            self._extend(float(numbers.min()), float(numbers.max()))
        finite = np.isfinite(numbers)
        if not finite.all():
            self.infinite += int(len(numbers) - finite.sum())
            numbers = numbers[finite]
        if len(numbers):
            mean = float(numbers.mean())
            self._moments(len(numbers), mean, float(np.square(numbers - mean).sum()))
            self._quantiles.add(numbers)

    def _moments(self, count: int, mean: float, squares: float) -> None:
        """Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).

        To be called before the quantiles take in the same values: their count is that of the values so far.
        """
        before = self._quantiles.count
        total = before + count
        if not total:
            return
        delta = mean - self._mean
        self._mean += delta * count / total
        self._squares += squares + delta * delta * before * count / total

    def _extend(self, low: float | int | None, high: float | int | None) -> None:
        if low is not None and (self.smallest is None or low < self.smallest):
            self.smallest = low
        if high is not None and (self.largest is None or high > self.largest):
            self.largest = high

    def _add_frequent(self, values: pa.Array) -> None:
        counted = pc.value_counts(values)
        found, counts = counted.field("values"), counted.field("counts").to_numpy()
        if len(counts) > ROOM:  # the same cut as in Frequent, before anything becomes a Python object
            cut = int(np.partition(counts, -(ROOM + 1))[-(ROOM + 1)])
            self.frequent.skip(cut)
            kept = counts > cut
            found, counts = found.filter(pa.array(kept)), counts[kept] - cut
        texts = found.cast(pa.string()).to_pylist()
        self.frequent.add(dict(zip(texts, counts.tolist(), strict=True)))

    def _shown(self, value: float | int) -> Any:
        if self.kind == "Timestamp":
            try:
                return (_EPOCH + timedelta(microseconds=round(value))).isoformat().replace("+00:00", "Z")
            except OverflowError:  # before the year 1 or after 9999
                return round(value)
        return value if isinstance(value, int) else _digits(value)


def _numbers(values: pa.Array, kind: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    if kind == "Boolean":
        values = values.cast(pa.int8())
    made: np.ndarray[Any, np.dtype[np.float64]] = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return made


def _digits(value: float) -> float | int | str:
    """Nine digits: those that follow differ with the processor and the order of additions. Infinity is no JSON.

    >>> _digits(0.1 + 0.2), _digits(2.0), _digits(float("inf"))
    (0.3, 2, 'Infinity')
    """
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    short = float(f"{value:.9g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def _common_shape(one: list[int] | None, other: list[int] | None) -> list[int] | None:
    if one is None or other is None or len(one) != len(other):
        return None
    return [a if a == b else -1 for a, b in zip(one, other, strict=True)]

"""Quantiles of any number of values in a few kilobytes, mergeable: KLL, with its coin tossed by a fixed rule.

Source: Karnin, Lang, Liberty, "Optimal Quantile Approximation in Streams" (FOCS 2016). Apache DataSketches has the
same sketch, but its Python module tosses a true coin, so that the same data would give another profile each time; here
equal values in equal order give equal bytes, on any machine (docs/design/0012).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

K: Final = 256
"""Values in the largest level. The error of a rank is about 1% of the number of values (99% of the time), and 0 up to
K values."""
SHRINK: Final = 2 / 3
"""Each level below has room for this share of the one above."""
SMALLEST: Final = 8
"""Room in the smallest level."""

Values = npt.NDArray[np.float64]


class Quantiles:
    """A sketch of the values given so far. ``count`` of them, all finite.

    >>> sketch = Quantiles()
    >>> sketch.add(np.arange(100.0))
    >>> sketch.at([0.0, 0.5, 1.0])
    [0.0, 49.0, 99.0]
    """

    def __init__(self) -> None:
        self.count = 0
        self._levels: list[Values] = [np.empty(0)]
        self._tosses = 0

    def add(self, values: Values) -> None:
        """Take in finite values, in any order."""
        self.count += len(values)
        self._levels[0] = np.concatenate([self._levels[0], values])
        self._compress()

    def merge(self, other: Quantiles) -> None:
        """Take in all that the other one has seen."""
        self.count += other.count
        while len(self._levels) < len(other._levels):
            self._levels.append(np.empty(0))
        for number, level in enumerate(other._levels):
            self._levels[number] = np.concatenate([self._levels[number], level])
        self._tosses += other._tosses
        self._compress()

    def at(self, shares: Iterable[float]) -> list[float]:
        """The value below which each share of all values lies (the smallest that reaches it)."""
        values = np.concatenate(self._levels)
        weights = np.concatenate([np.full(len(level), 2.0**n) for n, level in enumerate(self._levels)])
        order = np.argsort(values, kind="stable")
        reached = np.cumsum(weights[order])
        last = len(values) - 1
        return [
            float(values[order[min(last, int(np.searchsorted(reached, share * reached[-1] - 1e-9)))]])
            for share in shares
        ]

    def dump(self) -> dict[str, Any]:
        """JSON types; ``load`` reads them back."""
        return {"n": self.count, "t": self._tosses, "l": [level.tolist() for level in self._levels]}

    @classmethod
    def load(cls, raw: dict[str, Any]) -> Quantiles:
        """What ``dump`` gave."""
        made = cls()
        made.count, made._tosses = raw["n"], raw["t"]
        made._levels = [np.asarray(level, dtype=np.float64) for level in raw["l"]]
        return made

    def _compress(self) -> None:
        """While there are more values than room: halve the lowest level that is over its own."""
        while sum(map(len, self._levels)) > sum(rooms := _rooms(len(self._levels))):
            number = next(n for n, level in enumerate(self._levels) if len(level) > rooms[n])
            if number + 1 == len(self._levels):
                self._levels.append(np.empty(0))
            level = np.sort(self._levels[number])
            even = len(level) // 2 * 2
            kept = level[:even][self._toss() :: 2]
            self._levels[number] = level[even:]
            self._levels[number + 1] = np.concatenate([self._levels[number + 1], kept])

    def _toss(self) -> int:
        """0 or 1, as fair as a coin and the same for the same history (splitmix64)."""
        self._tosses += 1
        mixed = (self._tosses * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        return (mixed >> 63) & 1


def _rooms(levels: int) -> Sequence[int]:
    """Room in each level, the lowest first; the highest has K.

    >>> _rooms(3)
    [113, 170, 256]
    """
    return [max(SMALLEST, int(K * SHRINK ** (levels - 1 - n))) for n in range(levels)]

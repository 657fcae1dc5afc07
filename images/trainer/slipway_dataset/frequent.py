"""The most frequent values in bounded memory, mergeable, with an error that is known: Misra and Gries.

Source: Agarwal et al., "Mergeable Summaries" (PODS 2012). Exact, and so is the number of distinct values, as long as
there were never more than ``ROOM`` of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

ROOM: Final = 256
"""Values kept."""
LETTERS: Final = 120
"""Letters of a value that are kept."""


class Frequent:
    """Counts of values, each at most ``error`` too low; a value that is not here came at most ``error`` times.

    >>> seen = Frequent()
    >>> seen.add({"a": 3, "b": 1})
    >>> seen.top(1), seen.distinct
    ([('a', 3)], 2)
    """

    def __init__(self) -> None:
        self.error = 0
        self._counts: dict[str, int] = {}

    @property
    def distinct(self) -> int | None:
        """How many different values there are; None where only a part of them is known."""
        return len(self._counts) if self.error == 0 else None

    def add(self, counts: Mapping[str, int]) -> None:
        """Take in values with how often each came."""
        for value, count in counts.items():
            short = value[:LETTERS]
            self._counts[short] = self._counts.get(short, 0) + count
        self._shrink()

    def skip(self, count: int) -> None:
        """So many values came that nobody looked at."""
        self.error += count

    def merge(self, other: Frequent) -> None:
        """Take in all that the other one has seen."""
        self.error += other.error
        self.add(other._counts)

    def top(self, many: int) -> list[tuple[str, int]]:
        """The values that came most often, of those that surely came more often than any that is not kept."""
        sure = [(value, count) for value, count in self._counts.items() if count > self.error]
        return sorted(sure, key=lambda pair: (-pair[1], pair[0]))[:many]

    def dump(self) -> dict[str, Any]:
        """JSON types; ``load`` reads them back."""
        return {"e": self.error, "c": self._counts}

    @classmethod
    def load(cls, raw: dict[str, Any]) -> Frequent:
        """What ``dump`` gave."""
        made = cls()
        made.error, made._counts = raw["e"], dict(raw["c"])
        return made

    def _shrink(self) -> None:
        if len(self._counts) <= ROOM:
            return
        cut = sorted(self._counts.values(), reverse=True)[ROOM]
        self.error += cut
        self._counts = {value: count - cut for value, count in self._counts.items() if count > cut}

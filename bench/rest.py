"""Waits until the machine has come to rest, so that what one side leaves behind does not slow the next."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/stat")
_IDLE: Final = slice(3, 5)
"""Columns of ``/proc/stat``: idle, and waiting for a disk (proc(5))."""
_WINDOW: Final = 5.0


def come_to_rest(below: float = 0.1, most: float = 120.0) -> float:
    """Wait until the processors were busy for less than this share of five seconds, ``most`` seconds at most.

    Returns:
        The share of the last five seconds. It is not below ``below`` where the machine never came to rest, which is for
        the reader of the figures to know.
    """
    end = time.monotonic() + most
    while True:
        before = _STAT.read_text(encoding="ascii")
        time.sleep(_WINDOW)  # the time that is measured, and no wait for something
        share = busy(before, _STAT.read_text(encoding="ascii"))
        if share < below or time.monotonic() > end:
            return share


def busy(before: str, after: str) -> float:
    """The share of the time between two readings of ``/proc/stat`` in which the processors worked.

    >>> busy("cpu 10 0 10 100 0 0 0 0 0 0", "cpu 20 0 10 120 10 0 0 0 0 0")
    0.25
    """
    first, last = ([int(n) for n in text.split("\n", 1)[0].split()[1:9]] for text in (before, after))
    spent = [b - a for a, b in zip(first, last, strict=True)]
    return 1 - sum(spent[_IDLE]) / max(1, sum(spent))

"""Patience with an API server that goes away while a command waits for something: it is restarted, or upgraded, and is
there again in a moment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, TypeVar

from slipway.cli import show
from slipway.cli.errors import Away, Forbidden

T = TypeVar("T")

AGAIN_SECONDS: Final = 1.0
"""Until the next try where no API server answers."""


def ask(question: Callable[[], T], until: float | None = None, tell: Callable[[str], None] = show.note) -> T:
    """The answer to a question that is asked until somebody answers.

    Args:
        until: a time of ``time.monotonic`` after which nobody is waited for any more; None: as long as it takes.
        tell: is told why there is no answer yet, each reason once.

    Raises:
        Away: nobody answered in time.
        Forbidden: the user may not ask. Only at once: an API server that has just begun knows nobody's rights.
    """
    told = ""
    while True:
        try:
            return question()
        except (Away, Forbidden) as away:
            left = math.inf if until is None else until - time.monotonic()
            if left <= 0 or (isinstance(away, Forbidden) and not told):
                raise
            if str(away) != told:
                told = str(away)
                tell(f"{told}; trying again")
            time.sleep(min(AGAIN_SECONDS, left))

"""One line a step, with the time it took, on standard error: standard output belongs to results."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A sentence for the person at the keyboard; shown without a traceback."""


def say(line: str) -> None:
    """Print one line at once."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def step(what: str, *, quiet_below: float = 0.0) -> Iterator[None]:
    """Time a step and print `what  N s` at its end; steps shorter than `quiet_below` seconds print nothing."""
    begun = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"  {what}: stopped after {time.monotonic() - begun:.0f} s")
        raise
    took = time.monotonic() - begun
    if took >= quiet_below:
        say(f"  {what} {took:.1f} s" if took < 10 else f"  {what} {took:.0f} s")

"""A leader that stood still must not write when it comes back.

The library's election notices a lost Lease only after it has tried to renew it for ``RENEW_DEADLINE_SECONDS``; a
process that was stopped for a minute (a node that hangs, a paused virtual machine) would go on working all that time
beside its successor. So each write asks here first. What remains is the one request that is on the wire at that moment,
and a status write among them carries a resourceVersion.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

LEASE_SECONDS: Final = 15
MARGIN_SECONDS: Final = 2
"""The others count from when they saw the renewal, which is later than when it was asked for; a clock may be slow."""


class LeadershipLost(Exception):
    """The Lease could not be renewed in time, or somebody else holds it."""


def _boot_time() -> float:
    # Counts on while the machine sleeps, which the monotonic clock does not.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Fence:
    """Open while the Lease is surely ours."""

    def __init__(self, clock: Callable[[], float] = _boot_time) -> None:
        self._clock = clock
        self._until = float("-inf")

    def now(self) -> float:
        """The time to give to ``renewed``: taken before the renewal is asked for."""
        return self._clock()

    def renewed(self, asked_at: float) -> None:
        """The Lease was renewed by a request that began then."""
        self._until = asked_at + LEASE_SECONDS - MARGIN_SECONDS

    def close(self) -> None:
        """Somebody else holds the Lease."""
        self._until = float("-inf")

    def check(self) -> None:
        """Pass, or say that there is to be no write.

        Raises:
            LeadershipLost: the Lease may be somebody else's by now.
        """
        if self._clock() >= self._until:
            raise LeadershipLost("the lease was not renewed in time: another replica may lead by now")

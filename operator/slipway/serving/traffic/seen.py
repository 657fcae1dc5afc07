"""What a provider says about the traffic, and when that may be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from slipway.api.common import parse_time, rfc3339
from slipway.api.deployment import Counted, Weights
from slipway.api.reasons import Reason

SETTLE: Final = 2.0
"""Seconds from "accepted" to "believed". A gateway's controller writes its conditions when it has translated the route,
not when its proxies have taken it over; with Envoy Gateway they do within some tens of milliseconds. Times in a status
are cut to the second, so this is one second at least."""


ENOUGH: Final = 200
"""Requests from which on their proportion tells more than the gateway's conditions."""
LATELY: Final = 2000
"""Requests that are remembered, or up to twice as many: a gateway that follows late must be seen to follow."""
SIGMAS: Final = 4.0
SLACK: Final = 0.03
"""Beyond chance: requests that were on their way while the route changed, and rounds of a gateway's load balancer."""


@dataclass(frozen=True)
class Trouble:
    """Why the traffic does not follow. ``stalled``: waiting alone does not help."""

    reason: Reason
    message: str
    stalled: bool


@dataclass(frozen=True)
class Seen:
    """The traffic as the live objects show it.

    Attributes:
        share: percent by version.
        holds: versions that the live object names, at whatever weight.
        mark: changes whenever the live object asks for something else.
        accepted: whoever carries the traffic has taken over this mark.
        served: it had taken over an earlier one, so clients are answered while this one is on its way.
        mirror: percent of the requests that are copied to the candidate.
        aside: requests with a header reach the candidate whatever its share.
        trouble: why it has not, where that is known.
    """

    share: Mapping[str, int] = field(default_factory=dict)
    holds: frozenset[str] = frozenset()
    mark: str = ""
    accepted: bool = False
    served: bool = False
    mirror: int = 0
    aside: bool = False
    trouble: Trouble | None = None


def note(
    seen: Seen, before: Weights | None, *, candidate: str | None, now: datetime, counting: bool = False
) -> Weights:
    """The fact to record: what is asked, since when, and whether it may be believed.

    Believing needs ``accepted_at`` from an earlier pass, so a restart in between cannot shorten the settle time.

    Args:
        counting: whether the servers' requests come by the weights alone (``Situation.counting``). Where they do not,
            those that were counted are forgotten, and the conditions must do.
    """
    same = before is not None and before.mark == seen.mark
    written_at = before.written_at if before and same and before.written_at else rfc3339(now)
    accepted_at = None
    if seen.accepted:
        accepted_at = before.accepted_at if before and same and before.accepted_at else rfc3339(now)
    share = seen.share.get(candidate, 0) if candidate else 0
    counted = before.counted if before and same and counting else None
    by = believed(counted, share, settled=accepted_at is not None and now >= believed_at(accepted_at))
    return Weights(
        stable=100 - share,
        candidate=share,
        mirror=seen.mirror,
        verified=by is not None,
        verified_by=by,
        counted=counted,
        mark=seen.mark,
        written_at=written_at,
        accepted_at=accepted_at,
    )


def believed(counted: Counted | None, share: int, *, settled: bool) -> Literal["Traffic", "Conditions"] | None:
    """How the data plane was seen to follow; None where it was not (yet).

    With enough requests they decide. With fewer, or where they say nothing about the weights, the gateway's conditions
    and the settle time must do.
    """
    if not settled:
        return None
    if counted is None or _whole(counted) < ENOUGH:
        return "Conditions"
    return "Traffic" if _follows(counted, share) else None


def stray(weights: Weights | None) -> str | None:
    """In which other proportion the requests come than asked, in a sentence; None unless enough were counted to tell.

    >>> stray(Weights(stable=90, candidate=10, counted=Counted(stable=470, candidate=530)))
    'of the last 1,000 requests 53% reached the candidate, not 10%'
    """
    counted = weights.counted if weights else None
    if weights is None or counted is None or _whole(counted) < ENOUGH or _follows(counted, weights.candidate):
        return None
    whole = _whole(counted)
    came = round(100 * counted.candidate / whole)
    return f"of the last {whole:,} requests {came}% reached the candidate, not {weights.candidate}%"


def counted_on(before: Counted | None, stable: int, candidate: int) -> Counted:
    """What was counted, with so many more of each side. Of more than twice ``LATELY`` only half count on.

    >>> counted_on(Counted(stable=90, candidate=10), 9, 1)
    Counted(stable=99, candidate=11)
    >>> counted_on(Counted(stable=3000, candidate=1000), 3000, 1000)
    Counted(stable=3000, candidate=1000)
    """
    before = before or Counted()
    made = Counted(stable=before.stable + stable, candidate=before.candidate + candidate)
    while _whole(made) > 2 * LATELY:
        made = Counted(stable=made.stable // 2, candidate=made.candidate // 2)
    return made


def _whole(counted: Counted) -> int:
    return counted.stable + counted.candidate


def _follows(counted: Counted, share: int) -> bool:
    """Whether the share is within ``SIGMAS`` standard deviations, and some slack, of what was asked."""
    whole, wanted = _whole(counted), share / 100
    spread = math.sqrt(wanted * (1 - wanted) / whole) + 1 / whole
    return abs(counted.candidate / whole - wanted) <= SIGMAS * spread + SLACK


def countable(weights: Weights, at: datetime) -> bool:
    """Whether requests that were counted from a moment on came by these weights: a gateway's proxies follow within
    some tens of milliseconds, and a time in a status is cut to the second."""
    return weights.accepted_at is not None and at >= parse_time(weights.accepted_at) + timedelta(seconds=SETTLE / 2)


def believed_at(accepted_at: str) -> datetime:
    """When the settle time is over."""
    return parse_time(accepted_at) + timedelta(seconds=SETTLE)

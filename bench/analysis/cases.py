"""The streams: what clients send and what the two versions answer, second by second."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

HOUR = 3600
Over = Callable[[float], float]
"""A value at a time in seconds from the start."""


@dataclass(frozen=True)
class Case:
    """One kind of rollout.

    ``rate`` is requests a second, ``weight`` the candidate's share, ``stable`` and ``candidate`` the proportions of
    bad requests. ``worst``, in a case of latency: which part of the candidate's slow requests is slow for Flagger.
    ``steps`` are the times at which the weight changes.
    """

    name: str
    margin: float
    rate: Over
    weight: Over
    stable: Over
    candidate: Over
    seconds: int = HOUR
    every: int = 1
    steps: tuple[int, ...] = ()
    worst: float | None = None
    passing_ends: bool = True
    """False: the whole time is watched, as by an analysis in the background."""
    harm_from: int | None = None
    """Where harm begins, times and requests are counted from there."""
    false_abort: bool = False
    """An abort is an error, and may happen in 5 % of the rollouts."""
    must_abort: float = 0.0
    """This share of the rollouts has to be aborted."""
    switch: int | None = None
    """Where the stable version loses all its traffic, and the candidate is held against what it showed before."""
    false_pass: bool = False
    """Passing is an error, and may happen in 5 % of the rollouts."""


def always(value: float) -> Over:
    """The same at all times."""
    return lambda _: value


def beyond(limit: float, median: float, sigma: float = 0.6) -> float:
    """The share of requests slower than ``limit``, where times are log-normal.

    >>> round(beyond(300, 100), 4), round(beyond(300, 110), 4)
    (0.0335, 0.0472)
    """
    return 0.5 * math.erfc(math.log(limit / median) / sigma / math.sqrt(2))


def _case(
    name: str,
    margin: float,
    rps: float,
    stable: float,
    candidate: float,
    *,
    weight: float = 0.1,
    seconds: int = HOUR,
    worst: float | None = None,
    passing_ends: bool = True,
    false_abort: bool = False,
    must_abort: float = 0.0,
) -> Case:
    return Case(
        name,
        margin,
        always(rps),
        always(weight),
        always(stable),
        always(candidate),
        seconds=seconds,
        worst=worst,
        passing_ends=passing_ends,
        false_abort=false_abort,
        must_abort=must_abort,
    )


def _per_second(rps: float) -> str:
    return f"{rps:g} request{'' if rps == 1 else 's'}/s"


def _morning(t: float) -> float:
    """From 0 to 1 over two hours, steepest in the middle."""
    return 0.5 - 0.5 * math.cos(math.pi * min(t / (2 * HOUR), 1.0))


def _by_day(t: float) -> float:
    return 0.5 - 0.5 * math.cos(2 * math.pi * t / (24 * HOUR))


def _busier(t: float) -> float:
    return 2 + 48 * _morning(t)


def _worse(t: float) -> float:
    return 0.002 + 0.018 * _morning(t)


def _heavier(t: float) -> float:
    return 0.1 if t < HOUR else 0.5


def _better_by_day(t: float) -> float:
    return 0.01 - 0.009 * _by_day(t)


def _switched(
    name: str,
    rps: float,
    before: int,
    stable: float,
    candidate: float,
    *,
    margin: float = 0.01,
    weight: float = 0.0,
    seconds: int = HOUR,
    passing_ends: bool = True,
    false_abort: bool = False,
    false_pass: bool = False,
    must_abort: float = 0.0,
) -> Case:
    """A switch after ``before`` seconds; times and requests count from there, but where there was a canary before."""
    return Case(
        f"after a switch: {name}",
        margin,
        always(rps),
        lambda t: weight if t < before else 1.0,
        always(stable),
        always(candidate),
        seconds=before + seconds,
        switch=before,
        harm_from=None if weight else before,
        steps=(before,),
        passing_ends=passing_ends,
        false_abort=false_abort,
        false_pass=false_pass,
        must_abort=must_abort,
    )


def after_switch() -> list[Case]:
    """What the stable version showed before is all that there is of it."""
    return [
        _switched(
            "equal versions, 0.1% errors, 20 requests/s, a minute before it, tolerated 1%", 20, 60, 0.001, 0.001,
            false_abort=True,
        ),
        _switched(
            "equal versions, 1% errors, 1 request/s, 20 s before it, tolerated 1%", 1, 20, 0.01, 0.01,
            false_abort=True,
        ),
        _switched(
            "exactly what is tolerated: 2% errors against 1%, 20 requests/s, a minute before it, tolerated 1%",
            20, 60, 0.01, 0.02, false_abort=True, false_pass=True,
        ),
        _switched(
            "exactly what is tolerated, as above, 10 minutes before it", 20, 600, 0.01, 0.02,
            false_abort=True, false_pass=True,
        ),
        _switched(
            "exactly what is tolerated, as above, 10 minutes at 10% before it, looks for an hour", 20, 600, 0.01, 0.02,
            weight=0.1, passing_ends=False, false_abort=True,
        ),
        _switched(
            "5.1% errors against 0.1%, 1 request/s, 20 s before it, tolerated 1%", 1, 20, 0.001, 0.051,
            false_pass=True,
        ),
        _switched(
            "25% errors against 20%, 1 request/s, 20 s before it, tolerated 1%", 1, 20, 0.2, 0.25, false_pass=True,
        ),
        _switched(
            "5% errors against 0.1%, 20 requests/s, a minute before it, tolerated 1%", 20, 60, 0.001, 0.05,
            must_abort=0.99,
        ),
    ]  # fmt: skip


def cases() -> list[Case]:
    """Those of the table, in its order."""
    equal = [
        _case(
            f"equal versions, {rate:.1%} errors, {_per_second(rps)}, tolerated 0, looks for an hour",
            0.0,
            rps,
            rate,
            rate,
            passing_ends=False,
            false_abort=True,
        )
        for rate in (0.001, 0.01)
        for rps in (1, 20, 500)
    ]
    promoted = [
        _case(
            f"equal versions, 0.1% errors, {_per_second(rps)}, tolerated increase 1%",
            0.01,
            rps,
            0.001,
            0.001,
            false_abort=True,
        )
        for rps in (1, 20, 500)
    ]
    harmful = [
        _case(
            f"5% errors against 0.1%, {_per_second(rps)}, tolerated 1%",
            0.01,
            rps,
            0.001,
            0.05,
            must_abort=0.99,
            seconds=s,
        )
        for rps, s in ((1, 4 * HOUR), (20, HOUR), (500, HOUR))
    ]
    return [
        *equal,
        _case(
            "exactly what is tolerated: 2% errors against 1%, 20 requests/s, tolerated 1%, looks for an hour",
            0.01,
            20,
            0.01,
            0.02,
            passing_ends=False,
            false_abort=True,
        ),
        *promoted,
        *harmful,
        _case(
            "5% errors against 0.1%, 0.2 requests/s, tolerated 1%",
            0.01,
            0.2,
            0.001,
            0.05,
            seconds=12 * HOUR,
            must_abort=0.99,
        ),
        _case(
            "equal versions, 0.1% errors, 0.2 requests/s, tolerated 1%",
            0.01,
            0.2,
            0.001,
            0.001,
            seconds=12 * HOUR,
            false_abort=True,
        ),
        _case("1.5% errors against 1%, 500 requests/s, tolerated 0", 0.0, 500, 0.01, 0.015),
        _case("1.5% errors against 1%, 500 requests/s, tolerated 1%", 0.01, 500, 0.01, 0.015, false_abort=True),
        _case(
            "10% slower: 4.7% over 300 ms against 3.4%, 100 requests/s, tolerated 0",
            0.0,
            100,
            beyond(300, 100),
            beyond(300, 110),
            worst=beyond(500, 110) / beyond(300, 110),
        ),
        _case(
            "10% slower, as above, tolerated 2%",
            0.02,
            100,
            beyond(300, 100),
            beyond(300, 110),
            worst=beyond(500, 110) / beyond(300, 110),
            false_abort=True,
        ),
        _case(
            "a stable that is itself bad: 20% errors on both sides, 100 requests/s, tolerated 2%",
            0.02,
            100,
            0.2,
            0.2,
            false_abort=True,
        ),
        _case(
            "a stable that is itself bad: 0.1% errors against 20%, 20 requests/s, tolerated 1%",
            0.01,
            20,
            0.2,
            0.001,
            false_abort=True,
        ),
        Case(
            "equal versions in the morning, 2 to 50 requests/s, 0.2% to 2% errors, weight 10% then 50%, tolerated 0",
            0.0,
            _busier,
            _heavier,
            _worse,
            _worse,
            seconds=2 * HOUR,
            steps=(HOUR,),
            passing_ends=False,
            false_abort=True,
        ),
        Case(
            "the same morning, the candidate 3 points worse, tolerated 1%",
            0.01,
            _busier,
            _heavier,
            _worse,
            lambda t: _worse(t) + 0.03,
            seconds=2 * HOUR,
            steps=(HOUR,),
        ),
        Case(
            "equal versions for a day, 5 to 50 requests/s, "
            "errors 1% at night, 0.1% by day, looks every 30 s, tolerated 0",
            0.0,
            lambda t: 5 + 45 * _by_day(t),
            always(0.1),
            _better_by_day,
            _better_by_day,
            seconds=24 * HOUR,
            every=30,
            passing_ends=False,
            false_abort=True,
        ),
        Case(
            "harm that begins with more weight: 0.1% at 10%, "
            "after half an hour 5% at 50%, 100 requests/s, tolerated 1%",
            0.01,
            always(100),
            lambda t: 0.1 if t < HOUR / 2 else 0.5,
            always(0.001),
            lambda t: 0.001 if t < HOUR / 2 else 0.05,
            steps=(HOUR // 2,),
            passing_ends=False,
            harm_from=HOUR // 2,
            must_abort=0.99,
        ),
        Case(
            "harm that begins within a step: 0.1% for half an hour, then 5%, weight 10%, 100 requests/s, tolerated 1%",
            0.01,
            always(100),
            always(0.1),
            always(0.001),
            lambda t: 0.001 if t < HOUR / 2 else 0.05,
            passing_ends=False,
            harm_from=HOUR // 2,
            must_abort=0.99,
        ),
        *after_switch(),
    ]

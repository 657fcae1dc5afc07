"""No write without a Lease that is surely ours."""

from __future__ import annotations

import pytest

from slipway.kube.fence import LEASE_SECONDS, MARGIN_SECONDS, Fence, LeadershipLost


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_is_closed_before_the_lease_was_ever_held(clock: Clock) -> None:
    with pytest.raises(LeadershipLost):
        Fence(clock).check()


def test_it_is_open_for_less_than_the_lease_lasts(clock: Clock) -> None:
    fence = Fence(clock)
    fence.renewed(fence.now())
    clock.seconds += LEASE_SECONDS - MARGIN_SECONDS - 0.001
    fence.check()
    clock.seconds += 0.001
    with pytest.raises(LeadershipLost, match="another replica may lead by now"):
        fence.check()


def test_a_renewal_counts_from_when_it_was_asked_for(clock: Clock) -> None:
    """The answer may have been on its way for long: the process stood still."""
    fence = Fence(clock)
    asked_at = fence.now()
    clock.seconds += LEASE_SECONDS
    fence.renewed(asked_at)
    with pytest.raises(LeadershipLost):
        fence.check()


def test_it_closes_at_once_when_somebody_else_is_seen_to_hold_the_lease(clock: Clock) -> None:
    fence = Fence(clock)
    fence.renewed(fence.now())
    fence.close()
    with pytest.raises(LeadershipLost):
        fence.check()


def test_the_real_clock_goes_on() -> None:
    fence = Fence()
    assert fence.now() <= fence.now()
    fence.renewed(fence.now())
    fence.check()

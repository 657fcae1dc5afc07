"""What ends a leader: the loss of its Lease, or something that is wrong."""

from __future__ import annotations

import pytest

from slipway.kube.fence import LeadershipLost
from slipway.kube.leader import _lost

LOST, BUG = LeadershipLost("not renewed"), RuntimeError("a bug")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(LOST, LOST, id="alone"),
        pytest.param(ExceptionGroup("workers", [LOST, LOST]), LOST, id="of several workers"),
        pytest.param(ExceptionGroup("kinds", [ExceptionGroup("workers", [LOST])]), LOST, id="of several kinds"),
        pytest.param(ExceptionGroup("workers", [LOST, BUG]), None, id="a bug beside it is not hidden"),
        pytest.param(BUG, None, id="a bug"),
    ],
)
def test_why_the_work_ended(error: BaseException, expected: LeadershipLost | None) -> None:
    assert _lost(error) is expected

"""The arithmetic of weights. Whole percents; stable and candidate always sum to 100."""

from __future__ import annotations


def carries(ready: int, replicas: int) -> int:
    """Percent of the whole traffic that ``ready`` replicas can carry where ``replicas`` carry all of it.

    >>> carries(2, 2), carries(1, 2), carries(1, 3), carries(0, 3), carries(5, 2)
    (100, 50, 33, 0, 100)
    """
    return min(100, 100 * max(0, ready) // replicas)


def candidate_weight(asked: int, *, stable_ready: int, candidate_ready: int, replicas: int) -> int:
    """Percent that the candidate gets now; the stable version gets the rest.

    Never more than its ready replicas carry:

    >>> candidate_weight(50, stable_ready=4, candidate_ready=4, replicas=4)
    50
    >>> candidate_weight(50, stable_ready=4, candidate_ready=1, replicas=4)
    25

    A stable version without any ready replica would fail all that it is sent, so the candidate takes what it carries;
    a stable version that has only lost some replicas changes nothing:

    >>> candidate_weight(10, stable_ready=0, candidate_ready=2, replicas=2)
    100
    >>> candidate_weight(10, stable_ready=1, candidate_ready=2, replicas=2)
    10

    A candidate that is asked nothing (before the first step, or on the way back) gets nothing, whatever else is broken:

    >>> candidate_weight(0, stable_ready=0, candidate_ready=2, replicas=2)
    0
    """
    if asked == 0:
        return 0
    able = carries(candidate_ready, replicas)
    return able if stable_ready == 0 else min(asked, able)


def replicas_for(asked: int, replicas: int) -> int:
    """Candidate replicas whose share of all ready pods is nearest to ``asked`` percent, where pods share evenly.

    The stable version keeps all its replicas until the candidate has everything, because going back must be one write
    of a selector and must find the stable version whole. So the share cannot pass 50% before it becomes 100%.

    >>> [replicas_for(asked, 4) for asked in (10, 20, 33, 50, 90, 100)]
    [1, 1, 2, 4, 4, 4]
    >>> replicas_for(10, 1)
    1
    """
    if asked >= 100:
        return replicas
    nearest = round(replicas * asked / (100 - asked))
    return max(1, min(replicas, nearest))

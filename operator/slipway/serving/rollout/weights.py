"""The arithmetic of weights. Whole percents; stable and candidate always sum to 100."""

from __future__ import annotations


def carries(ready: int, replicas: int) -> int:
    """Percent of the whole traffic that ``ready`` replicas can carry where ``replicas`` carry all of it.

    >>> carries(2, 2), carries(1, 2), carries(1, 3), carries(0, 3), carries(5, 2)
    (100, 50, 33, 0, 100)

    Where no replicas are asked for, none are missing:

    >>> carries(0, 0)
    100
    """
    return min(100, 100 * max(0, ready) // replicas) if replicas else 100


def candidate_weight(asked: int, *, able: int, stable_ready: int, most: int = 100) -> int:
    """Percent that the candidate gets now; the stable version gets the rest.

    Never more than the percent that its ready replicas are ``able`` to carry:

    >>> candidate_weight(50, able=100, stable_ready=4)
    50
    >>> candidate_weight(50, able=25, stable_ready=4)
    25

    And not above ``most`` while replicas for the step are still on their way:

    >>> candidate_weight(50, able=25, most=10, stable_ready=4)
    10

    A stable version without any ready replica would fail all that it is sent, so the candidate takes what it carries;
    a stable version that has only lost some replicas changes nothing:

    >>> candidate_weight(10, able=100, most=10, stable_ready=0)
    100
    >>> candidate_weight(10, able=100, stable_ready=1)
    10

    A candidate that is asked nothing (before the first step, or on the way back) gets nothing, whatever else is broken:

    >>> candidate_weight(0, able=100, stable_ready=0)
    0
    """
    if asked == 0:
        return 0
    return able if stable_ready == 0 else min(asked, able, most)


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

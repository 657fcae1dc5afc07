"""How many replicas a version needs for its share of the traffic, and who gives which up when there is no room. Pure.

With room for both, the candidate has its share rounded up and is scaled before its weight is written. Without room
(``surge: false``) a rollout is a walk of single replicas: the stable version gives one up, the candidate takes it, and
only when that one is ready the next one follows. Never are there more than ``replicas`` of both.
"""

from __future__ import annotations

from dataclasses import dataclass

from slipway.api.deployment import DeploymentSpec, DeploymentStatus
from slipway.serving.rollout.program import Step


@dataclass(frozen=True)
class Side:
    """The replicas of a version: ``asked`` for in its workload, and ``there`` as pods. A pod on its way out is there:
    until it is gone it holds its room."""

    asked: int = 0
    there: int = 0
    ready: int = 0

    @property
    def holds(self) -> int:
        """Replicas that nobody else may have."""
        return max(self.asked, self.there)


def load(spec: DeploymentSpec, facts: DeploymentStatus, steps: tuple[Step, ...]) -> int:
    """Percent of the whole traffic for which the candidate must have replicas at the present step or, before it, at the
    first one. Copies count like requests. It never falls from step to step.

    Blue/green and a shadow as a strategy end in one switch, so they are whole from the beginning.
    """
    end = len(steps)
    begins_at = end if facts.rollout and facts.rollout.full else 0
    index = facts.step.index if facts.step is not None else begins_at
    if index >= end or spec.strategy.type != "Canary":
        return 100
    return max(min(100, step.weight + step.mirror) for step in steps[: index + 1])


def share(percent: int, replicas: int) -> int:
    """Replicas that carry ``percent`` where ``replicas`` carry everything; one at least, where there are any.

    >>> [share(percent, 4) for percent in (0, 10, 25, 26, 50, 100)]
    [1, 1, 1, 2, 2, 4]
    >>> share(50, 0)
    0
    """
    return min(replicas, max(1, -(-replicas * percent // 100)))


def part(percent: int, replicas: int) -> int:
    """Replicas nearest to ``percent`` of them where the others are left to the stable version: it keeps one until all
    traffic has moved, and the candidate gets that one last.

    >>> [part(percent, 4) for percent in (0, 10, 50, 60, 90, 100)]
    [1, 1, 2, 2, 3, 3]
    >>> part(10, 2), part(100, 2)
    (1, 1)
    """
    return max(1, min(replicas - 1, (replicas * percent + 50) // 100))


def in_place(
    replicas: int, need: int, stable: Side, candidate: Side, others: int, *, forward: bool, settled: bool = True
) -> tuple[int, int]:
    """Replicas of stable and candidate where both and ``others`` may have ``replicas`` together.

    The stable version gives one up, and then another when the candidate has made something of the first:

    >>> two = Side(asked=2, there=2, ready=2)
    >>> in_place(2, 1, two, Side(), 0, forward=True)
    (1, 0)
    >>> in_place(2, 1, Side(asked=1, there=2, ready=1), Side(), 0, forward=True)
    (1, 0)
    >>> in_place(2, 1, Side(asked=1, there=1, ready=1), Side(), 0, forward=True)
    (1, 1)
    >>> in_place(4, 2, Side(asked=3, there=3, ready=3), Side(asked=1, there=1, ready=0), 0, forward=True)
    (3, 1)
    >>> in_place(4, 2, Side(asked=3, there=3, ready=3), Side(asked=1, there=1, ready=1), 0, forward=True)
    (2, 1)

    But not before the traffic was seen to follow:

    >>> in_place(4, 2, Side(asked=3, there=3, ready=3), Side(asked=1, there=1, ready=1), 0, forward=True, settled=False)
    (3, 1)

    On the way back the candidate keeps its own until its weight 0 is verified; the stable version takes what is free:

    >>> in_place(4, 2, Side(asked=2, there=2, ready=2), Side(asked=2, there=2, ready=2), 0, forward=False)
    (2, 2)
    >>> in_place(4, 0, Side(asked=2, there=2, ready=2), Side(), 1, forward=False)
    (3, 0)
    """
    wish = replicas - min(need, candidate.ready + 1) if forward else replicas
    free = replicas - candidate.holds - others
    # It shrinks for the candidate's sake or because fewer are asked for, and grows into what is free.
    if wish > stable.asked:
        mine = max(stable.asked, min(wish, free))
    else:
        mine = wish if settled else min(stable.asked, replicas)
    mine = max(mine, 1)
    if not forward:
        return mine, min(candidate.asked, replicas)
    left = replicas - max(stable.holds, mine) - others
    return mine, max(0, min(need, left))

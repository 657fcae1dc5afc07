"""A rollout as a list of steps, and where in it a rollout stands. Pure.

Each strategy is a file that turns the spec into steps; everything else only knows steps. A step holds **all** that is
wanted while it is the present one, so nothing has to be remembered from the steps before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from slipway.api.deployment import (
    CandidateRole,
    DeploymentSpec,
    DeploymentStatus,
    HeaderRoute,
    PromotionJob,
    ShadowTerms,
)
from slipway.serving.rollout.machine import State


@dataclass(frozen=True)
class Step:
    """One step of a program.

    Attributes:
        state: the machine's state while it is the present step.
        weight: percent of the traffic that the candidate is asked to carry.
        mirror: percent of the requests that are copied to it.
        header: requests with this header go to it, whatever its weight.
        lasts: seconds: of a pause its length (None: until a person speaks), of an analysis the least.
        shadow: what a comparison of answers must show.
        job: the program that must end with 0.
    """

    state: State
    weight: int = 0
    mirror: int = 0
    header: HeaderRoute | None = None
    lasts: float | None = None
    shadow: ShadowTerms | None = None
    job: PromotionJob | None = None


END: Final = Step(State.PROMOTING, weight=100)
"""Behind the last step: the candidate gets everything."""
Strategy = Callable[[DeploymentSpec], tuple[Step, ...]]


def state(facts: DeploymentStatus, steps: tuple[Step, ...]) -> State:
    """The state that the recorded facts mean."""
    if facts.candidate is None:
        if facts.stable is None:
            return State.EMPTY
        return State.ABORTED if facts.rollout and facts.rollout.aborted_at else State.HEALTHY
    if facts.stable is None:
        return State.FIRST
    if facts.rollout is None or facts.rollout.aborted_at:
        return State.RETREATING
    if facts.rollout.paused_at:
        return State.PAUSED
    if facts.step is None:
        return State.STARTING
    return at(steps, facts.step.index).state


def at(steps: tuple[Step, ...], index: int) -> Step:
    """The step of that index; ``spec`` may change during a rollout, and then the new steps hold."""
    return steps[index] if index < len(steps) else END


def following(facts: DeploymentStatus, steps: tuple[Step, ...]) -> int:
    """The index of the next step; behind the last one where promote-full was said."""
    end = len(steps)
    if facts.rollout and facts.rollout.full:
        return end
    return 0 if facts.step is None else min(end, facts.step.index + 1)


def wanted(facts: DeploymentStatus, steps: tuple[Step, ...]) -> Step | None:
    """What is wanted of the traffic now; None where the candidate is asked nothing (before its first step, or on the
    way back)."""
    if facts.stable is None or facts.candidate is None or facts.step is None:
        return None
    if facts.rollout is None or facts.rollout.aborted_at:
        return None
    return at(steps, facts.step.index)


def role(facts: DeploymentStatus, strategy: str, here: Step | None, weight: int) -> CandidateRole | None:
    """What the candidate is to clients; None where there is none.

    It is a shadow as long as no client can get an answer of it and the rollout is one that compares, or is at a step
    that does.

    Args:
        strategy: ``spec.strategy.type``.
        here: what is wanted of the traffic now.
        weight: percent of the traffic that the route gives it.
    """
    if facts.candidate is None:
        return None
    reached = facts.stable is None or weight > 0 or (here is not None and (here.weight > 0 or here.header is not None))
    compares = strategy == "Shadow" or (here is not None and here.mirror > 0)
    return "shadow" if compares and not reached else "candidate"


def before(facts: DeploymentStatus, steps: tuple[Step, ...]) -> int:
    """Percent that the step before the present one asked for; 0 where there was none, or the steps were skipped."""
    if facts.step is None or facts.step.index == 0 or (facts.rollout and facts.rollout.full):
        return 0
    return at(steps, facts.step.index - 1).weight


def of(spec: DeploymentSpec, strategies: Mapping[str, Strategy]) -> tuple[Step, ...]:
    """The steps that the spec asks for."""
    return strategies[spec.strategy.type](spec)

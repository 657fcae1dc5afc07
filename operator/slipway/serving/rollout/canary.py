"""The canary strategy: (spec, facts) -> what the candidate is asked to carry, and where the rollout stands. Pure."""

from __future__ import annotations

from slipway.api.deployment import CanaryStep, DeploymentSpec, DeploymentStatus
from slipway.serving.rollout.machine import State


def steps(spec: DeploymentSpec) -> list[CanaryStep]:
    """The steps; ``spec`` may change during a rollout, and then the new steps hold."""
    return spec.strategy.canary.steps


def state(spec: DeploymentSpec, facts: DeploymentStatus) -> State:
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
    return at(spec, facts.step.index)


def at(spec: DeploymentSpec, index: int) -> State:
    """What the step of that index is; behind the last one the candidate is promoted."""
    if index >= len(steps(spec)):
        return State.PROMOTING
    step = steps(spec)[index]
    if step.pause is None:
        return State.STEP
    return State.WAIT if step.pause.duration else State.PAUSED


def following(spec: DeploymentSpec, facts: DeploymentStatus) -> int:
    """The index of the next step; behind the last one where promote-full was said."""
    end = len(steps(spec))
    if facts.rollout and facts.rollout.full:
        return end
    return 0 if facts.step is None else min(end, facts.step.index + 1)


def asked(spec: DeploymentSpec, facts: DeploymentStatus) -> int:
    """Percent that the candidate is asked to carry now: the newest setWeight up to here."""
    if facts.stable is None or facts.candidate is None or facts.step is None:
        return 0
    if facts.rollout is None or facts.rollout.aborted_at:
        return 0
    if facts.step.index >= len(steps(spec)):
        return 100
    return _newest(steps(spec)[: facts.step.index + 1])


def prepared(spec: DeploymentSpec, facts: DeploymentStatus) -> int:
    """Percent for which the candidate must have replicas: what is asked now or, before the first step, first."""
    if facts.step is not None:
        return asked(spec, facts)
    if facts.rollout and facts.rollout.full:
        return 100
    return next((s.set_weight for s in steps(spec) if s.set_weight is not None), 100)


def _newest(some: list[CanaryStep]) -> int:
    return next((s.set_weight for s in reversed(some) if s.set_weight is not None), 0)

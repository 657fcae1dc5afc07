"""The canary strategy: weights that go up step by step, with pauses, evidence and comparisons between. Pure."""

from __future__ import annotations

from typing import Final

from slipway.api.common import seconds
from slipway.api.deployment import CanaryStep, DeploymentSpec, HeaderRoute
from slipway.serving.rollout.machine import State
from slipway.serving.rollout.program import Step

_AT_ONCE: Final = (CanaryStep(set_weight=100),)


def steps(spec: DeploymentSpec) -> tuple[Step, ...]:
    """Weight and header route of a step stay until a later one changes them; a mirror lasts for its own step."""
    made: list[Step] = []
    weight, header = 0, None
    for given in spec.strategy.canary.steps if spec.strategy.canary else _AT_ONCE:
        weight = given.set_weight if given.set_weight is not None else weight
        header = given.header_route or header
        made.append(_step(given, weight, header))
    return tuple(made)


def _step(given: CanaryStep, weight: int, header: HeaderRoute | None) -> Step:
    if given.pause is not None:
        lasts = seconds(given.pause.duration) if given.pause.duration else None
        return Step(State.PAUSED if lasts is None else State.WAIT, weight, header=header, lasts=lasts)
    if given.analysis is not None:
        return Step(State.ANALYSING, weight, header=header, lasts=seconds(given.analysis.duration or "0s"))
    if given.shadow is not None:
        return Step(State.SHADOWING, weight, given.shadow.percent, header, shadow=given.shadow)
    return Step(State.STEP, weight, header=header)

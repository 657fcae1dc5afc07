"""The blue/green strategy: tests beside the stable version, one switch, and perhaps a look back at it. Pure."""

from __future__ import annotations

from typing import Final

from slipway.api.common import seconds
from slipway.api.deployment import AnalysisStep, BlueGreen, DeploymentSpec, PrePromotion
from slipway.serving.rollout.machine import State
from slipway.serving.rollout.program import Step

_DEFAULT: Final = BlueGreen()


def steps(spec: DeploymentSpec) -> tuple[Step, ...]:
    """The preview is no step: it stands from the moment at which the candidate is whole until the end."""
    plan = spec.strategy.blue_green or _DEFAULT
    made = list(_before(plan.pre_promotion)) if plan.pre_promotion else []
    if not plan.auto_promote:
        made.append(Step(State.PAUSED))
    made.append(Step(State.STEP, weight=100))
    if plan.post_promotion:
        made.append(_analysis(plan.post_promotion.analysis, weight=100))
    return tuple(made)


def _before(given: PrePromotion) -> tuple[Step, ...]:
    job = (Step(State.TESTING, job=given.job),) if given.job else ()
    return (*job, _analysis(given.analysis, weight=0)) if given.analysis else job


def _analysis(given: AnalysisStep, weight: int) -> Step:
    return Step(State.ANALYSING, weight, lasts=seconds(given.duration or "0s"))

"""The shadow strategy: copies of requests and a comparison of answers, then everything or a person's word. Pure."""

from __future__ import annotations

from typing import Final

from slipway.api.deployment import DeploymentSpec, Shadow
from slipway.serving.rollout.machine import State
from slipway.serving.rollout.program import Step

_DEFAULT: Final = Shadow()


def steps(spec: DeploymentSpec) -> tuple[Step, ...]:
    """One step of copies; where it is to be held, an open pause behind it."""
    plan = spec.strategy.shadow or _DEFAULT
    compare = Step(State.SHADOWING, mirror=plan.percent, shadow=plan)
    return (compare, Step(State.PAUSED)) if plan.on_pass == "Hold" else (compare,)  # noqa: S105 - no password

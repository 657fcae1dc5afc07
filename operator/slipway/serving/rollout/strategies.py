"""The strategies by the name that ``spec.strategy.type`` gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway.serving.rollout import blue_green, canary, shadow
from slipway.serving.rollout.program import Strategy

STRATEGIES: Final[Mapping[str, Strategy]] = {
    "Canary": canary.steps,
    "BlueGreen": blue_green.steps,
    "Shadow": shadow.steps,
}

"""The stories of replicas: who has how many of them while versions change, and the way back to a version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.serving_builders import pause, weight
from tests.support.serving_world import Until, World
from tests.unit.serving.stories import (
    BY_HAND,
    V1,
    V2,
    V3,
    Story,
    Turn,
    ask_for,
    both,
    degraded,
    first,
    healthy,
    paused,
    say,
    world_with,
)


def canary(*steps: Mapping[str, Any], delay: str = "5s", **more: Any) -> dict[str, Any]:
    """A ``spec.strategy`` of type Canary."""
    given = steps or BY_HAND
    return {"type": "Canary", "canary": {"steps": [dict(s) for s in given], "scaleDownDelay": delay}, **more}


def remembers(*entries: tuple[str, str]) -> Until:
    """The history begins with these outcomes and reasons, the newest first."""

    def holds(world: World) -> bool:
        found = [(h["outcome"], h["reason"]) for h in world.status.get("history", ())]
        return found[: len(entries)] == list(entries)

    return holds


def coming(version: str) -> Until:
    """That version is the candidate."""
    return lambda world: bool(world.status.get("candidate", {}).get("modelVersion") == version)


def goes(*versions: str) -> list[Turn]:
    """Each of them is promoted in full."""
    turns = []
    for version in versions:
        turns += [Turn(ask_for(version), paused(version, 10)), Turn(say("promote-full"), healthy(version))]
    return turns


CAPACITY: dict[str, Story] = {
    "back to a version in the rollback window skips the steps": Story(
        world_with,
        [
            first(strategy=canary(rollbackWindow=1)),
            *goes(V2),
            Turn(ask_for(V1), both(healthy(V1), remembers(("Promoted", f"rolled back to {V1} from {V2}")))),
        ],
    ),
    "back to a version beyond the rollback window takes all steps": Story(
        world_with,
        [
            first(strategy=canary(rollbackWindow=1)),
            *goes(V2, V3),
            Turn(ask_for(V1), paused(V1, 10)),
            Turn(say("promote-full"), both(healthy(V1), remembers(("Promoted", f"rolled back to {V1} from {V3}")))),
        ],
    ),
    "a version that was only a candidate is not in the rollback window": Story(
        world_with,
        [
            first(strategy=canary(rollbackWindow=5), historyLimit=6),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(say("abort"), degraded("said abort", left=[V1])),
            Turn(ask_for(V1), healthy(V1)),
            Turn(ask_for(V2), paused(V2, 10)),
        ],
    ),
    "a rollback that was aborted and is retried skips the steps again": Story(
        world_with,
        [
            first(strategy=canary(weight(10), pause(), rollbackWindow=2)),
            *goes(V2),
            Turn(ask_for(V1), coming(V1)),
            Turn(say("abort"), degraded("said abort", left=[V2])),
            Turn(say("retry"), healthy(V1)),
        ],
    ),
}

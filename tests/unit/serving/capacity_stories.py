"""The stories of replicas: who has how many of them while versions change, and the way back to a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slipway.api.common import Label
from slipway.kube.objects import HTTP_ROUTES, WORKLOADS
from tests.support.builders import NAMESPACE
from tests.support.serving_builders import NAME, header_step, pause, weight
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
    create,
    degraded,
    first,
    healthy,
    lose_pods,
    paused,
    replicas_of,
    say,
    says,
    world_with,
)

QUARTERS = (weight(25), pause(), weight(50), pause())
HALF = (weight(50), pause())


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


def scale(replicas: int) -> Callable[[World], None]:
    """A person, or an autoscaler, changes the number of replicas."""
    return lambda world: world.changes(f"asks for {replicas} replicas", replicas=replicas)


def zero(version: str) -> Until:
    """That version is the stable one of nothing; the route stands, and nobody says that it serves."""

    def holds(world: World) -> bool:
        status = world.status
        ready = world.condition("Ready")
        return bool(
            status.get("stable", {}).get("modelVersion") == version
            and (status["phase"], ready["status"], ready["reason"]) == ("Paused", "False", "ScaledToZero")
            and world.condition("Reconciling")["status"] == "False"
            and status["replicas"] == 0
            and world.running() == [version]
            and world.kube.find(HTTP_ROUTES, NAMESPACE, NAME)
        )

    return holds


def replicas_asked(**wanted: int) -> Until:
    """Workloads ask for so many replicas, whether there are as many or not."""

    def holds(world: World) -> bool:
        found = {w["metadata"]["labels"][Label.MODEL_VERSION]: w["spec"]["replicas"] for w in world.kube.all(WORKLOADS)}
        return found == {version.replace("_", "-"): n for version, n in wanted.items()}

    return holds


def scaled(replicas: int, *versions: str) -> Until:
    """What an autoscaler sees: so many pods, and those of these versions."""

    def holds(world: World) -> bool:
        chosen = world.status["selector"].partition("model-version in ")[2]
        return bool(chosen == f"({','.join(versions)})" and world.status["replicas"] == replicas)

    return holds


def stable_ready(replicas: int) -> Until:
    """It is recorded that the stable version has so many ready replicas."""
    return lambda world: bool(world.status["stable"]["readyReplicas"] == replicas)


def without_surge(world: World) -> None:
    """A person sees that there is no room, and does without."""
    world.by_person = True
    world.changes("sets surge: false", strategy=canary(*HALF, surge=False))


def in_place(*steps: Mapping[str, Any], replicas: int = 2, **more: Any) -> Turn:
    """digits-v1 serves where there is room for its replicas alone."""
    return first(replicas=replicas, strategy=canary(*(steps or HALF), surge=False), **more)


def cramped(room: int, **more: Any) -> Callable[[], World]:
    """A world with so many GPUs."""
    return lambda: world_with(room=room, **more)


CAPACITY: dict[str, Story] = {
    "a candidate has the replicas that its weight needs": Story(
        world_with,
        [
            first(replicas=4, strategy=canary(*QUARTERS)),
            Turn(ask_for(V2), both(paused(V2, 25), replicas_of(digits_v1=4, digits_v2=1), scaled(5, V1, V2))),
            Turn(say("promote"), both(paused(V2, 50), replicas_of(digits_v1=4, digits_v2=2))),
            Turn(say("promote"), both(healthy(V2), replicas_of(digits_v2=4), scaled(4, V2))),
        ],
    ),
    "a candidate that only testers reach has one replica": Story(
        world_with,
        [
            first(replicas=4, strategy=canary(header_step(), pause(), weight(50))),
            Turn(ask_for(V2), both(paused(V2, 0), replicas_of(digits_v1=4, digits_v2=1), scaled(4, V1))),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "stable and candidate share the replicas": Story(
        world_with,
        [
            first(replicas=4, strategy=canary(*QUARTERS, stableScale="Share")),
            Turn(ask_for(V2), both(paused(V2, 25), replicas_of(digits_v1=3, digits_v2=1), scaled(4, V1, V2))),
            Turn(say("promote"), both(paused(V2, 50), replicas_of(digits_v1=2, digits_v2=2))),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "an abort finds the stable version small, and it grows again": Story(
        world_with,
        [
            first(replicas=4, strategy=canary(*QUARTERS, stableScale="Share")),
            Turn(ask_for(V2), paused(V2, 25)),
            Turn(say("promote"), both(paused(V2, 50), replicas_of(digits_v1=2, digits_v2=2))),
            Turn(say("abort"), both(degraded("aborted at 50%", left=[V1]), stable_ready(4))),
        ],
    ),
    "a candidate that loses its pods gives its share back to a small stable version": Story(
        world_with,
        [
            first(replicas=4, strategy=canary(*HALF, stableScale="Share"), progressDeadline="10m"),
            Turn(ask_for(V2), both(paused(V2, 50), replicas_of(digits_v1=2, digits_v2=2))),
            Turn(lose_pods(V2), both(paused(V2, 0), replicas_of(digits_v1=4))),
            Turn(lambda world: world.heals(V2), both(paused(V2, 50), replicas_of(digits_v1=2, digits_v2=2))),
        ],
    ),
    "an autoscaler changes the replicas in mid-rollout and no weight moves": Story(
        world_with,
        [
            first(replicas=4, strategy=canary(*HALF)),
            Turn(ask_for(V2), paused(V2, 50)),
            Turn(scale(8), both(paused(V2, 50), replicas_of(digits_v1=8, digits_v2=4))),
            Turn(scale(2), both(paused(V2, 50), replicas_of(digits_v1=2, digits_v2=1))),
            Turn(say("promote"), both(healthy(V2), replicas_of(digits_v2=2))),
        ],
    ),
    "an autoscaler changes shared replicas in mid-rollout": Story(
        world_with,
        [
            first(replicas=4, strategy=canary(*HALF, stableScale="Share")),
            Turn(ask_for(V2), paused(V2, 50)),
            Turn(scale(8), both(paused(V2, 50), replicas_of(digits_v1=4, digits_v2=4))),
            Turn(scale(3), both(paused(V2, 50), replicas_of(digits_v1=2, digits_v2=2))),
            Turn(say("promote"), both(healthy(V2), replicas_of(digits_v2=3))),
        ],
    ),
    "scaled to zero and up again": Story(
        world_with,
        [
            first(),
            Turn(scale(0), both(zero(V1), says("scaled to zero: spec.replicas is 0"))),
            Turn(scale(3), both(healthy(V1), replicas_of(digits_v1=3))),
        ],
    ),
    "a rollout at zero replicas switches without pods": Story(
        world_with,
        [
            Turn(create(replicas=0, strategy=canary(*HALF)), zero(V1)),
            Turn(ask_for(V2), zero(V2)),
            Turn(scale(2), healthy(V2)),
        ],
    ),
    "scaled to zero in the middle of a rollout": Story(
        world_with,
        [
            first(replicas=4, strategy=canary(*HALF)),
            Turn(ask_for(V2), paused(V2, 50)),
            Turn(scale(0), both(paused(V2, 50), replicas_asked(digits_v1=0, digits_v2=0))),
            Turn(scale(4), both(paused(V2, 50), replicas_of(digits_v1=4, digits_v2=2))),
            Turn(say("abort"), degraded("aborted at 50%", left=[V1])),
        ],
    ),
    "two replicas of one GPU each on two GPUs": Story(
        cramped(2),
        [
            in_place(),
            Turn(ask_for(V2), both(paused(V2, 50), replicas_of(digits_v1=1, digits_v2=1))),
            Turn(say("promote"), both(healthy(V2), replicas_of(digits_v2=2))),
        ],
    ),
    "replica by replica on four GPUs": Story(
        cramped(4),
        [
            in_place(weight(10), pause(), weight(60), pause("5s"), replicas=4),
            Turn(ask_for(V2), both(paused(V2, 10), replicas_of(digits_v1=3, digits_v2=1))),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "an abort in place gives the weight back first": Story(
        cramped(4),
        [
            in_place(replicas=4),
            Turn(ask_for(V2), both(paused(V2, 50), replicas_of(digits_v1=2, digits_v2=2))),
            Turn(say("abort"), both(degraded("aborted at 50%", left=[V1]), stable_ready(4))),
        ],
    ),
    "another version in place of one that is in place": Story(
        cramped(4),
        [
            in_place(replicas=4),
            Turn(ask_for(V2), both(paused(V2, 50), replicas_of(digits_v1=2, digits_v2=2))),
            Turn(ask_for(V3), both(paused(V3, 50), replicas_of(digits_v1=2, digits_v3=2))),
            Turn(say("promote-full"), healthy(V3)),
        ],
    ),
    "in place a candidate that never gets ready costs one replica until the deadline": Story(
        cramped(4, troubles={V2: {}}),
        [
            in_place(replicas=4),
            Turn(ask_for(V2), both(says("0 of 1 replica ready"), replicas_asked(digits_v1=3, digits_v2=1))),
            Turn(
                lambda world: None,
                both(degraded("0 of 1 replica ready within 30s", left=[V1]), stable_ready(4)),
            ),
        ],
    ),
    "in place behind a plain Service": Story(
        cramped(4),
        [
            in_place(weight(25), pause(), replicas=4, route=False),
            Turn(ask_for(V2), both(paused(V2, 25), replicas_of(digits_v1=3, digits_v2=1))),
            Turn(say("promote"), both(healthy(V2), replicas_of(digits_v2=4))),
        ],
    ),
    "in place to a version in the rollback window": Story(
        cramped(2),
        [
            first(strategy=canary(weight(10), pause(), surge=False, rollbackWindow=1)),
            *goes(V2),
            Turn(ask_for(V1), healthy(V1)),
        ],
    ),
    "no room for a surge, in the words of the scheduler": Story(
        cramped(2),
        [
            first(),
            Turn(ask_for(V2), says("0 of 1 replica ready", "Insufficient nvidia.com/gpu")),
            Turn(
                lambda world: None,
                degraded("0 of 1 replica ready within 30s", "Insufficient nvidia.com/gpu", left=[V1]),
            ),
        ],
    ),
    "no room for a surge, and a person does without": Story(
        cramped(2),
        [
            first(strategy=canary(*HALF)),
            Turn(ask_for(V2), says("Insufficient nvidia.com/gpu")),
            Turn(without_surge, both(paused(V2, 50), replicas_of(digits_v1=1, digits_v2=1))),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
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
    "rollouts that were aborted do not close the way back": Story(
        world_with,
        [
            first(strategy=canary(rollbackWindow=1), historyLimit=2),
            *goes(V2),
            *(
                turn
                for _ in range(3)
                for turn in (
                    Turn(ask_for(V3), paused(V3, 10)),
                    Turn(say("abort"), degraded("said abort", left=[V2])),
                    Turn(ask_for(V2), healthy(V2)),
                )
            ),
            Turn(ask_for(V1), both(healthy(V1), remembers(("Promoted", f"rolled back to {V1} from {V2}")))),
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

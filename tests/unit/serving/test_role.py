"""What a candidate is to clients: a shadow as long as none of them can get its answer."""

from __future__ import annotations

import pytest

from slipway.api.deployment import DeploymentStatus, HeaderRoute, VersionStatus
from slipway.serving.rollout import program
from slipway.serving.rollout.machine import State
from slipway.serving.rollout.program import END, Step
from tests.support.serving_builders import shadow, shadow_step, weight
from tests.support.serving_world import run_until
from tests.unit.serving.evidence_stories import busy, deploys
from tests.unit.serving.stories import V2, Turn, ask_for, healthy, says

COPIES = Step(State.SHADOWING, mirror=100)
HEADER = HeaderRoute(name="x-team", value="qa")
CASES: dict[str, tuple[str, Step | None, int, str]] = {
    "a shadow that starts": ("Shadow", None, 0, "shadow"),
    "a shadow that gets copies": ("Shadow", COPIES, 0, "shadow"),
    "a shadow that agreed and waits for a person": ("Shadow", Step(State.PAUSED), 0, "shadow"),
    "a shadow that is promoted": ("Shadow", END, 0, "candidate"),
    "a shadow that is promoted and has everything": ("Shadow", END, 100, "candidate"),
    "a shadow that was given up": ("Shadow", None, 0, "shadow"),
    "a canary that starts": ("Canary", None, 0, "candidate"),
    "a canary at a shadow step": ("Canary", COPIES, 0, "shadow"),
    "a canary behind its shadow step": ("Canary", Step(State.PAUSED), 0, "candidate"),
    "a canary that gets copies beside its share": ("Canary", Step(State.SHADOWING, 10, 100), 10, "candidate"),
    "a share that the route has not given yet": ("Canary", Step(State.SHADOWING, 10, 100), 0, "candidate"),
    "a share that the route has not taken yet": ("Canary", COPIES, 10, "candidate"),
    "copies, and clients with a header": ("Canary", Step(State.SHADOWING, 0, 100, HEADER), 0, "candidate"),
    "blue/green before the switch": ("BlueGreen", Step(State.PAUSED), 0, "candidate"),
}


def version(name: str) -> VersionStatus:
    return VersionStatus(model_version=name, workload=name, service=name)


@pytest.mark.parametrize("case", CASES)
def test_the_role(case: str) -> None:
    strategy, here, share, role = CASES[case]
    facts = DeploymentStatus(stable=version("digits-v1"), candidate=version("digits-v2"))
    assert program.role(facts, strategy, here, share) == role


def test_a_first_version_is_no_shadow_of_anybody() -> None:
    assert program.role(DeploymentStatus(candidate=version("digits-v1")), "Shadow", None, 0) == "candidate"


def test_without_a_candidate_there_is_no_role() -> None:
    assert program.role(DeploymentStatus(stable=version("digits-v1")), "Shadow", None, 0) is None


@pytest.mark.parametrize("how", ["strategy", "step"])
async def test_the_status_says_so_while_copies_are_compared(how: str) -> None:
    world = busy(differs=0.001)()
    given = {"strategy": lambda: deploys(shadow()), "step": lambda: deploys(steps=[shadow_step(50), weight(10)])}
    for turn in (given[how](), Turn(ask_for(V2), says("gets copies"))):
        turn.act(world)
        await run_until(world, turn.until)
    assert world.status["candidateRole"] == "shadow"
    await run_until(world, healthy(V2))
    assert "candidateRole" not in world.status

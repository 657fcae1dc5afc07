"""Whatever happens in whatever order, operator crashes included: two runs of one model end, with at most one version
each, and no number twice or left out. Failing seeds tell their whole story."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from slipway import contract
from slipway.kube.fake import Crash
from slipway.kube.objects import JOBS, MODEL_VERSIONS, TRAINING_RUNS
from tests.support.builders import NAMESPACE, failure, train_result, training_run
from tests.support.stories import World
from tests.unit.training.test_stories import Invariants, new_world, the_end

RUNS = ("digits-1", "digits-2")
GOOD = contract.dumps(train_result())
ACTIONS = 60


def pod_runs(world: World, run: str) -> None:
    if world.kubelet.pod(run, "Pending"):
        world.kubelet.run(run)


def pod_ends_well(world: World, run: str) -> None:
    if world.kubelet.pod(run, "Running"):
        world.kubelet.end(run, 0, GOOD)


def pod_fails(world: World, run: str) -> None:
    if world.kubelet.pod(run, "Running"):
        world.kubelet.end(run, 1, failure("CodeRaised", "boom"))


def pod_is_lost(world: World, run: str) -> None:
    for phase in ("Succeeded", "Running", "Failed"):
        if world.kubelet.pod(run, phase):
            world.kubelet.lose(run, phase)
            return


def job_is_deleted(world: World, run: str) -> None:
    if world.kube.find(JOBS, NAMESPACE, run):
        world.kube.remove(JOBS, NAMESPACE, run)
        world.tell("user", f"deletes the Job {run}")


def suspend_is_turned(world: World, run: str) -> None:
    def turn(found: dict[str, dict[str, bool]]) -> None:
        found["spec"]["suspend"] = not found["spec"]["suspend"]

    world.kube.edit(TRAINING_RUNS, NAMESPACE, run, turn)
    world.tell("user", f"turns spec.suspend of {run}")


def operator_will_crash(world: World, _run: str) -> None:
    world.kube.crash_after(1)


CHAOS: dict[Callable[[World, str], None], int] = {
    pod_runs: 6,
    pod_ends_well: 3,
    pod_fails: 1,
    pod_is_lost: 1,
    job_is_deleted: 1,
    suspend_is_turned: 1,
    operator_will_crash: 2,
}


async def stumble(world: World, dice: random.Random) -> None:
    try:
        await world.stumble(dice)
    except Crash:
        world.tell("operator", "DIES and starts again")


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(40))
async def test_everything_ends(seed: int) -> None:
    dice, world = random.Random(seed), new_world()
    world.kube.on_write = Invariants(world).check
    for run in RUNS:
        world.kube.put(training_run(run, backoffLimit=20))
    for _ in range(ACTIONS):
        for _ in range(dice.randrange(5)):
            await stumble(world, dice)
        dice.choices(list(CHAOS), list(CHAOS.values()))[0](world, dice.choice(RUNS))
        world.advance(dice.randrange(30))
    # Then peace: nothing is suspended, nothing breaks any more.
    world.kube.never_crash()
    for run in RUNS:
        world.kube.edit(TRAINING_RUNS, NAMESPACE, run, lambda found: found["spec"].update(suspend=False))
    for _ in range(10):
        await world.rest()
        for run in RUNS:
            pod_runs(world, run)
            pod_ends_well(world, run)
    await world.rest()
    end, story = the_end(world), "\n".join(world.log)
    phases = {run: end["runs"][run]["phase"] for run in RUNS}
    assert set(phases.values()) <= {"Succeeded", "Failed"}, story
    failed = [run for run in RUNS if phases[run] == "Failed"]
    # A result may be lost three times in a row; nothing else here makes a run fail.
    assert all("attempts to read it from the store" in end["runs"][run]["message"] for run in failed), story
    made = sorted(v["spec"]["trainingRun"] for v in world.kube.all(MODEL_VERSIONS))
    assert made == sorted(set(RUNS) - set(failed)), story

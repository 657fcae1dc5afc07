"""The operator is killed (SIGKILL) at some moment and begins anew: the end is the same as without."""

from __future__ import annotations

import time

from slipway.kube.objects import DATASETS, JOBS, MODEL_VERSIONS, PODS, TRAINING_RUNS
from tests.support.kubelet import Act, checks_well, hangs, trains_well
from tests.support.world import World


def test_killed_again_and_again_while_runs_come_in(world: World) -> None:
    teams = []
    for delay in (0.02, 0.08, 0.2, 0.4, 0.7):
        team = world.team()
        team.run()
        teams.append(team)
        time.sleep(delay)
        world.operator.kill()
        time.sleep(0.3)  # the neighbours go on in the meantime
        world.operator.start()
    for team in teams:
        done = team.run_until("Succeeded")
        assert done["status"]["modelVersion"] == "digits-v1"
        assert done["status"]["attempts"] == 1
        team.version_until("Ready")
        assert len(team.all(MODEL_VERSIONS)) == 1
        assert len([j for j in team.all(JOBS) if j["metadata"]["name"] == "digits-1"]) == 1


def test_killed_in_the_middle_of_a_training(world: World) -> None:
    team = world.team()
    team.play("train", lambda _pod: Act())  # runs, and runs
    team.run()
    team.run_until("Running")
    world.operator.kill()
    time.sleep(1.1)  # so that it ends in another second than it began
    team.play("train", trains_well)
    time.sleep(0.5)  # the training ends while nobody watches
    world.operator.start()
    done = team.run_until("Succeeded")
    assert done["status"]["attempts"] == 1
    assert len([p for p in team.all(PODS) if p["metadata"]["labels"]["slipway.dev/role"] == "train"]) == 1


def test_killed_again_and_again_while_data_are_read_anew(world: World) -> None:
    """Each refresh is carried out exactly once, and the run keeps the version that it settled on."""
    team = world.team()
    team.play("dataset", hangs)
    team.dataset()
    team.run(data=[{"name": "train", "dataset": "digits"}])
    team.until(JOBS, "digits-dataset")
    world.operator.kill()
    team.play("dataset", checks_well)
    time.sleep(0.5)  # the pod ends while nobody watches
    world.operator.start()
    pinned = team.run_until("Succeeded")["status"]["data"]
    for number, delay in enumerate((0.0, 0.03, 0.08, 0.2, 0.4), 2):
        team.say("refresh", resource=DATASETS)
        time.sleep(delay)
        world.operator.kill()
        time.sleep(0.2)
        world.operator.start()
        settled = team.dataset_until("Ready", check=lambda d, n=number: d["status"]["checked"]["number"] >= n)
        assert settled["status"]["check"]["number"] == number
        team.until(DATASETS, "digits", lambda d: "annotations" not in d["metadata"])
    team.gone(JOBS, "digits-dataset")
    live = team.get(TRAINING_RUNS, "digits-1")
    assert live is not None
    assert live["status"]["data"] == pinned
    assert len(settled["status"]["versions"]) == 1


def test_an_object_that_is_deleted_while_nobody_watches_is_gone(world: World) -> None:
    """No finalizer of ours keeps it."""
    team = world.team()
    team.play("train", hangs)
    team.run()
    team.run_until("Queued")
    world.operator.kill()
    team.api.delete(TRAINING_RUNS, team.namespace, "digits-1")
    team.gone(TRAINING_RUNS, "digits-1")
    team.gone(JOBS, "digits-1")
    world.operator.start()


def test_a_suspension_while_nobody_watches_is_carried_out_later(world: World) -> None:
    team = world.team()
    team.play("train", hangs)
    team.run()
    team.run_until("Queued")
    world.operator.kill()
    team.run(suspend=True)
    world.operator.start()
    team.run_until("Suspended")
    team.gone(PODS)

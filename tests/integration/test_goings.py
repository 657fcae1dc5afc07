"""Objects that go in the moment in which the operator works on them, and are there again: whatever comes in between its
look and its write, it says no error, and leaves nothing behind."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from slipway.api.common import Label
from slipway.kube.objects import (
    CONFIG_MAPS,
    DATASETS,
    DEPLOYMENTS,
    JOBS,
    MODEL_VERSIONS,
    PODS,
    SERVICES,
    TRAINING_RUNS,
    WORKLOADS,
    Resource,
)
from tests.support.api_server import eventually
from tests.support.world import Team, World

ROUNDS, SEED = 120, 20261130
KINDS = (TRAINING_RUNS, DATASETS, MODEL_VERSIONS, DEPLOYMENTS)
CHILDREN = (JOBS, PODS, SERVICES, WORKLOADS)


def test_what_goes_in_the_moment_of_a_write(world: World) -> None:
    team, dice = world.team(), random.Random(SEED)
    team.ready_version()
    makes: dict[Resource, Callable[[], object]] = {
        TRAINING_RUNS: lambda: team.run("fresh-1", model="fresh", data=[{"name": "train", "dataset": "digits"}]),
        DATASETS: team.dataset,
        MODEL_VERSIONS: lambda: team.register("other", 1),
        DEPLOYMENTS: team.deploy,
    }
    names = {TRAINING_RUNS: "fresh-1", DATASETS: "digits", MODEL_VERSIONS: "other-v1", DEPLOYMENTS: "digits"}
    for _ in range(ROUNDS):
        kind = dice.choice(KINDS)
        makes[kind]()
        time.sleep(dice.choice((0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3)))
        if dice.random() < 0.3:
            suspend(team, dice)
        if dice.random() < 0.3:
            orphan(team, dice)
        team.api.delete(kind, team.namespace, names[kind])
    eventually(lambda: cleared(team), what="everything being gone", show=lambda: remaining(team))
    assert not world.operator.complaints()


def cleared(team: Team) -> bool:
    """Delete all that people make, again and again: a run may have made its version in its last moment."""
    for kind in KINDS:
        for made in team.all(kind):
            team.api.delete(kind, team.namespace, made["metadata"]["name"])
    return not remaining(team)


def remaining(team: Team) -> list[str]:
    return [f"{kind.kind} {left['metadata']['name']}" for kind in (*KINDS, *CHILDREN) for left in team.all(kind)]


def suspend(team: Team, dice: random.Random) -> None:
    """A field of a Job that may be going."""
    if team.get(TRAINING_RUNS, "fresh-1") is not None:
        team.api.merge(TRAINING_RUNS, team.namespace, "fresh-1", {"spec": {"suspend": dice.random() < 0.5}})


def orphan(team: Team, dice: random.Random) -> None:
    """Somebody deletes what is ours."""
    ours = [
        (kind, child) for kind in (*CHILDREN, CONFIG_MAPS) for child in team.all(kind, f"{Label.MANAGED_BY}=slipway")
    ]
    if ours:
        kind, child = dice.choice(ours)
        team.api.delete(kind, team.namespace, child["metadata"]["name"])

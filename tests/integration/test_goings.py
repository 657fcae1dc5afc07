"""Objects that come, change and go in the moment in which the operator works on them: whatever comes in between its
look and its write, it says no error, and what people delete leaves nothing behind."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from slipway.api.common import Label
from slipway.kube.objects import (
    CONFIG_MAPS,
    DATASETS,
    DEPLOYMENTS,
    HTTP_ROUTES,
    JOBS,
    MODEL_VERSIONS,
    NAMESPACES,
    PODS,
    SERVICES,
    TRAINING_RUNS,
    WORKLOADS,
    Resource,
)
from tests.support.api_server import Object, Refusal, eventually
from tests.support.world import Team, World

ROUNDS, SEED = 120, 20261130
MOMENTS: Final = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3)
"""Seconds until the next change: about what a pass takes from its look to its writes."""
NAMESPACES_DELETED = 0.03
KINDS = (TRAINING_RUNS, DATASETS, MODEL_VERSIONS, DEPLOYMENTS)
CHILDREN = (JOBS, PODS, SERVICES, WORKLOADS, HTTP_ROUTES)
VERBS = ("promote", "promote-full", "abort", "retry", "pause", "resume")
REFUSED = (404, 409, 422)
"""Changes that come too late, or that nobody may make: of a record, of a version that is served."""


def test_one_that_goes_as_soon_as_it_has_come(world: World) -> None:
    """Again and again under the same name: what the operator has looked at is another object."""
    team, dice = world.team(), random.Random(SEED)
    team.ready_version()
    makes: dict[Resource, Callable[[], Object]] = {
        TRAINING_RUNS: lambda: team.run("fresh-1", model="fresh", data=[{"name": "train", "dataset": "digits"}]),
        DATASETS: team.dataset,
        MODEL_VERSIONS: lambda: team.register("other", 1),
        DEPLOYMENTS: team.deploy,
    }
    for _ in range(ROUNDS):
        kind = dice.choice(KINDS)
        made = makes[kind]()
        time.sleep(dice.choice(MOMENTS))
        team.api.delete(kind, team.namespace, made["metadata"]["name"])
    ends_well(world, [team])


@dataclass(frozen=True)
class People:
    """What one namespace's people do without looking, in no order."""

    team: Team
    dice: random.Random

    def act(self) -> None:
        """One change; one that is refused is none."""
        changes = (self.train, self.read, self.register, self.deploy, self.hold, self.say, self.refresh, self.wish)
        try:
            self.dice.choice((*changes, self.delete, self.delete, self.delete, self.meddle))()
        except Refusal as refusal:
            if refusal.code not in REFUSED:
                raise

    def train(self) -> None:
        model = self.dice.choice("ab")
        data = [{"name": "train", "dataset": "digits"}] if self.dice.random() < 0.5 else []
        self.team.run(f"{model}-1", model=model, data=data)

    def read(self) -> None:
        self.team.dataset()

    def register(self) -> None:
        aliases = ["champion"] if self.dice.random() < 0.6 else []
        self.team.register(self.dice.choice("ab"), self.dice.randint(1, 3), aliases=aliases)

    def deploy(self) -> None:
        version = f"{self.dice.choice(('digits', 'a', 'b'))}-v{self.dice.randint(1, 2)}"
        name, routed = self.dice.choice(("digits", "other")), self.dice.random() < 0.7
        self.team.deploy(name, version, routed=routed, replicas=self.dice.randint(0, 2))

    def hold(self) -> None:
        self._change(TRAINING_RUNS, {"suspend": self.dice.random() < 0.5})

    def wish(self) -> None:
        self._change(MODEL_VERSIONS, self.dice.choice(({"archived": True}, {"archived": False}, {"aliases": []})))

    def say(self) -> None:
        if name := self._one(DEPLOYMENTS):
            self.team.say(self.dice.choice(VERBS), name)

    def refresh(self) -> None:
        if name := self._one(DATASETS):
            self.team.say("refresh", name, DATASETS)

    def delete(self) -> None:
        kind = self.dice.choice(KINDS)
        if name := self._one(kind):
            how = self.dice.choice(("Background", "Foreground"))
            self.team.api.delete(kind, self.team.namespace, name, how)

    def meddle(self) -> None:
        """Delete what is the operator's: a child, or a model's ledger."""
        kind = self.dice.choice((*CHILDREN, CONFIG_MAPS))
        if name := self._one(kind, f"{Label.MANAGED_BY}=slipway"):
            self.team.api.delete(kind, self.team.namespace, name)

    def _change(self, kind: Resource, spec: Object) -> None:
        if name := self._one(kind):
            self.team.api.merge(kind, self.team.namespace, name, {"spec": spec})

    def _one(self, kind: Resource, selector: str = "") -> str | None:
        found = [live["metadata"]["name"] for live in self.team.all(kind, selector)]
        return self.dice.choice(found) if found else None


def test_people_who_do_anything_at_any_time(world: World) -> None:
    """Two namespaces; now and then one is deleted with all that is in it."""
    dice = random.Random(SEED)

    def people() -> People:
        made = world.team()
        made.ready_version()
        return People(made, dice)

    groups = [people(), people()]
    for _ in range(ROUNDS):
        number = dice.randrange(len(groups))
        groups[number].act()
        if dice.random() < NAMESPACES_DELETED:
            world.api.delete(NAMESPACES, None, groups[number].team.namespace)
            groups[number] = people()
        time.sleep(dice.choice(MOMENTS))
    ends_well(world, [group.team for group in groups])


def ends_well(world: World, teams: list[Team]) -> None:
    """All that people made can be deleted, nothing is left of it, and the operator's log has no error."""
    for team in teams:
        eventually(partial(cleared, team), what="everything being gone", show=partial(remaining, team))
    assert not world.operator.complaints()


def cleared(team: Team) -> bool:
    """Delete all that people make, again and again: a run may have made its version in its last moment."""
    for kind in KINDS:
        for made in team.all(kind):
            if "deletionTimestamp" not in made["metadata"]:
                team.api.delete(kind, team.namespace, made["metadata"]["name"])
    return not remaining(team)


def remaining(team: Team) -> list[str]:
    return [f"{kind.kind} {left['metadata']['name']}" for kind in (*KINDS, *CHILDREN) for left in team.all(kind)]

"""Stories: the operator's rooms and its neighbours in one world, told step by step, with a log to compare.

A story is told three ways. In order: between two steps everything comes to rest, and the log is compared with a golden
file. Shuffled: whoever may act next is drawn by a seeded generator, and steps come as soon as they can. Crashing: the
operator dies right after its n-th write, for every n. All three must end in the same state, and the invariants are
checked after every write.

``SLIPWAY_GOLDEN=write`` writes the golden files anew.
"""

from __future__ import annotations

import difflib
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from slipway.api.common import parse_time
from slipway.kube.act import act
from slipway.kube.client import Conflict, Refused
from slipway.kube.controller import Room, tell_refusal
from slipway.kube.fake import Crash, FakeKube
from slipway.kube.objects import Manifest, Resource, key_of
from tests.support.builders import NAMESPACE, T0
from tests.support.neighbours import JobController, Kubelet

BOUND = 400
"""Rounds after which a world that has not come to rest never will."""


@dataclass(frozen=True)
class Step:
    """What happens to the world. ``ready`` says whether it can happen yet."""

    name: str
    act: Callable[[World], object]
    ready: Callable[[World], bool] = lambda _world: True


@dataclass
class World:
    """FakeKube, a clock, the rooms, the neighbours, and the log of what everybody did."""

    rooms: Sequence[Room[Any]]
    kube: FakeKube = field(default_factory=FakeKube)
    now: datetime = field(default_factory=lambda: parse_time(T0))
    log: list[str] = field(default_factory=list)
    alive: bool = True
    """False: the operator is down."""

    def __post_init__(self) -> None:
        self._began = self.now
        self.jobs = JobController(self.kube, lambda: self.now, self.tell)
        self.kubelet = Kubelet(self.kube, lambda: self.now, self.tell)

    def tell(self, who: str, what: str) -> None:
        """One line of the log."""
        seconds = int((self.now - self._began).total_seconds())
        self.log.append(f"{seconds:>6}s {who:<8} {what}")

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)

    async def operator_pass(self, room: Room[Any], subject: Manifest) -> bool:
        """One pass over one object; whether it wrote anything."""
        key = key_of(subject)
        observed = await room.observe(self.kube, key)
        if observed is None:
            return False
        plan = room.decide(observed, self.now)
        before, told = len(self.kube.log), len(self.kube.events)
        old = room.subject(observed).get("status", {})
        try:
            return await act(self.kube, room.subject(observed), plan, self.now, "test") > 0
        except Conflict:
            self.tell("operator", f"is too late for {key.name} and looks again")
            return True
        except Refused as error:
            await tell_refusal(self.kube, room, observed, error, self.now, "test")
            return len(self.kube.log) > before
        finally:
            self._tell_writes(before, told, room, key.name, old)

    def _tell_writes(self, before: int, told: int, room: Room[Any], name: str, old: Manifest) -> None:
        for line in self.kube.log[before:]:
            verb, kind, where = line.split()
            namespace, _, written = where.partition("/")
            text = f"{verb} {kind} {written}"
            if verb == "status":
                status = self.kube.snapshot()[(room.resource.api_version, kind, namespace, written)]["status"]
                if status.get("message") == old.get("message") and status.get("phase") == old.get("phase"):
                    changed = sorted(k for k in {*status, *old} - {"conditions"} if status.get(k) != old.get(k))
                    text += f": {', '.join(changed)}"
                else:
                    text += f": {status['phase']}: {status['message']}"
            self.tell("operator", text)
        for event in self.kube.events[told:]:
            self.tell("operator", f"event {event['type']} {event['reason']} on {name}")

    async def actors(self) -> bool:
        """Everybody acts once, in order; whether anybody did anything."""
        did = False
        if self.alive:
            for each in self.rooms:
                for subject in self.kube.all(each.resource):
                    did |= await self.operator_pass(each, subject)
        return self.jobs.tick() or did

    async def rest(self) -> None:
        """Until nobody does anything any more. A crash is a new start of the operator."""
        for _ in range(BOUND):
            try:
                if not await self.actors():
                    return
            except Crash:
                self.tell("operator", "DIES and starts again")
        raise AssertionError("the world does not come to rest:\n" + "\n".join(self.log[-30:]))

    async def stumble(self, dice: random.Random) -> None:
        """Somebody, drawn by lot, acts once."""
        choices: list[tuple[Room[Any], Manifest] | None] = [None]
        if self.alive:
            choices += [(room, subject) for room in self.rooms for subject in self.kube.all(room.resource)]
        chosen = dice.choice(choices)
        if chosen is None:
            self.jobs.tick()
        else:
            await self.operator_pass(*chosen)


def is_held(resource: Resource, name: str) -> Step:
    """Somebody's finalizer is put on an object: deleted, it stays and is leaving."""

    def act(world: World) -> None:
        world.tell("somebody", f"puts a finalizer on the {resource.kind} {name}")
        world.kube.edit(
            resource, NAMESPACE, name, lambda o: o["metadata"].update(finalizers=["example.com/looks-after-it"])
        )

    return Step(f"a finalizer holds {name}", act, lambda world: world.kube.find(resource, NAMESPACE, name) is not None)


def lets_go(resource: Resource, name: str) -> Step:
    """The finalizer is taken off again, once the object was deleted."""

    def act(world: World) -> None:
        world.tell("somebody", f"takes the finalizer off the {resource.kind} {name}")
        world.kube.edit(resource, NAMESPACE, name, lambda o: o["metadata"].update(finalizers=[]))

    def leaving(world: World) -> bool:
        return "deletionTimestamp" in (world.kube.find(resource, NAMESPACE, name) or {"metadata": {}})["metadata"]

    return Step(f"{name} is let go", act, leaving)


def quota(resource: Resource, why: str | None, ready: Callable[[World], bool] = lambda w: True) -> Step:
    """The API server takes no more objects of a kind, or takes them again."""
    what = f"no more {resource.plural}" if why else f"{resource.plural} again"

    def act(world: World) -> None:
        world.kube.refusing = {resource: why} if why else {}
        world.tell("admin", f"takes {what}")

    return Step(f"the cluster takes {what}", act, ready)


async def tell_in_order(world: World, steps: Iterable[Step]) -> None:
    """Every step from a world at rest."""
    for step in steps:
        world.log.append(f"# {step.name}")
        assert step.ready(world), f"not ready for: {step.name}\n" + "\n".join(world.log)
        step.act(world)
        await world.rest()


async def tell_shuffled(world: World, steps: Iterable[Step], seed: int) -> None:
    """Every step as soon as it can be, after some more or fewer turns of whoever is drawn."""
    dice = random.Random(seed)
    for step in steps:
        for _ in range(dice.randrange(4)):
            await world.stumble(dice)
        for _ in range(BOUND):
            if step.ready(world):
                break
            await world.stumble(dice)
        assert step.ready(world), f"never ready for: {step.name}\n" + "\n".join(world.log[-30:])
        world.log.append(f"# {step.name}")
        step.act(world)
    await world.rest()


@dataclass(frozen=True)
class Book:
    """The stories of a room, and what holds of each of them.

    Attributes:
        end: what must be the same however it came to it.
    """

    stories: Mapping[str, Sequence[Step]]
    new_world: Callable[[], World]
    end: Callable[[World], Any]
    _calm: dict[str, tuple[World, Any]] = field(default_factory=dict)

    async def calm(self, name: str) -> tuple[World, Any]:
        """The world after the story was told in order, and its end: told once for all that compare with it."""
        if name not in self._calm:
            world = self.new_world()
            await tell_in_order(world, self.stories[name])
            self._calm[name] = world, self.end(world)
        return self._calm[name]

    async def in_order(self, name: str, goldens: Path) -> None:
        """The log is that of the golden file."""
        world, _ = await self.calm(name)
        compare(world.log, goldens / f"{name.replace(' ', '-').replace(',', '')}.log")

    async def at_rest(self, name: str) -> None:
        """Once it is over, no pass writes anything."""
        world, _ = await self.calm(name)
        before = world.kube.snapshot()
        for room in world.rooms:
            for subject in world.kube.all(room.resource):
                assert not await world.operator_pass(room, subject), "it writes though nothing changed"
        assert world.kube.snapshot() == before

    async def shuffled(self, name: str, seeds: Iterable[int]) -> None:
        """It ends the same whoever comes first."""
        _, end = await self.calm(name)
        for seed in seeds:
            wild = self.new_world()
            await tell_shuffled(wild, self.stories[name], seed)
            assert self.end(wild) == end, f"seed {seed}"

    async def crashing(self, name: str) -> None:
        """It ends the same whichever write of the operator is the last one of its life."""
        calm, end = await self.calm(name)
        for at in range(1, len(calm.kube.log) + 1):
            world = self.new_world()
            world.kube.crash_after(at)
            await tell_in_order(world, self.stories[name])
            assert any("DIES" in line for line in world.log)
            assert self.end(world) == end, f"crash after write {at}"


def compare(log: Sequence[str], golden: Path) -> None:
    """The log against its golden file."""
    text = "\n".join(log) + "\n"
    if os.environ.get("SLIPWAY_GOLDEN") == "write":
        golden.write_text(text)
    wanted = golden.read_text()
    if text != wanted:
        diff = difflib.unified_diff(wanted.splitlines(), text.splitlines(), str(golden.name), "told now", lineterm="")
        raise AssertionError("\n".join(diff))


_TIMES = frozenset(
    {
        "startTime",
        "completionTime",
        "startedAt",
        "finishedAt",
        "verifiedAt",
        "lastTransitionTime",
        "at",
        "seenAt",
        "deadlineSince",
    }
)


def timeless(value: Any) -> Any:
    """A status without times and without what depends on when pods were seen: for comparing two ways to the end."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in _TIMES and k != "lastAttempt"}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return value

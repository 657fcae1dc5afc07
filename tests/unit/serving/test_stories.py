"""Stories of a Deployment, told in order against golden logs, shuffled, and with an operator that dies at each write.

``SLIPWAY_GOLDEN=write`` writes the golden files anew. The invariants (``tests/support/serving_world.py``) are checked
after every write, in every telling.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
from pathlib import Path
from typing import Any

import pytest

from slipway.kube.fake import FakeKube
from slipway.kube.objects import HTTP_ROUTES, SERVICES, WORKLOADS
from tests.support.serving_world import World, run_until
from tests.support.stories import compare
from tests.unit.serving.capacity_stories import CAPACITY
from tests.unit.serving.evidence_stories import EVIDENCE
from tests.unit.serving.stories import STORIES as MOVES
from tests.unit.serving.stories import Story

STORIES = {**MOVES, **EVIDENCE, **CAPACITY}
GOLDEN = Path(__file__).parent / "golden"
SEEDS = range(int(os.environ.get("SLIPWAY_SEEDS", "1")))
"""Shuffled tellings of each story. The usual number is bounded by the time that unit tests may take."""
MORE_SEEDS = range(len(SEEDS), 6 * len(SEEDS))
"""And of the main one."""
MAIN = "a canary goes 10, 50, 100 by itself"


def by_name(name: object) -> str:
    return str(name).replace(" ", "-").replace(",", "").replace("'", "")


async def tell(story: Story, world: World, dice: random.Random | None = None) -> World:
    for turn in story.turns:
        turn.act(world)
        await run_until(world, turn.until, dice=dice)
    return world


def end(world: World) -> dict[str, Any]:
    """What must be the same however it came to it: everything but times and the words about the way."""
    status = world.status
    kept = ("phase", "stable", "candidate", "step", "observedGeneration")
    route = world.kube.all(HTTP_ROUTES)
    return {
        **{k: status.get(k) for k in kept if k != "step"},
        "step": status.get("step", {}).get("index"),
        "weights": {k: v for k, v in status.get("weights", {}).items() if k in ("stable", "candidate", "verified")},
        "conditions": {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]},
        "history": [(h["modelVersion"], h["outcome"]) for h in status.get("history", ())],
        "action": status.get("lastAction", {}).get("action"),
        "route": world.weights_of(route[0]) if route else None,
        "workloads": {w["metadata"]["name"]: w["spec"]["replicas"] for w in world.kube.all(WORKLOADS)},
        "services": [s["metadata"]["name"] for s in world.kube.all(SERVICES)],
    }


@functools.cache
def calm(name: str) -> World:
    """The story told in order, once for all that compare with it."""
    return asyncio.run(tell(STORIES[name], STORIES[name].begin()))


# By module: pytest puts the tests of one story side by side then, and they share its calm telling.
each_story = pytest.mark.parametrize("name", STORIES, ids=by_name, scope="module")


@each_story
def test_in_order(name: str) -> None:
    world = calm(name)
    compare([f"# {name}", *world.log], GOLDEN / f"{by_name(name)}.txt")


def test_no_golden_log_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {by_name(name) for name in STORIES}


@pytest.mark.parametrize(
    "name",
    # What concerns evidence and room alone is told so in `make test`: beside its telling in order, it takes too long
    # for the minute of `make test-unit`.
    [pytest.param(name, marks=() if name in MOVES else pytest.mark.thorough) for name in STORIES],
    ids=by_name,
    scope="module",
)
def test_an_operator_that_dies_after_every_write_comes_to_the_same_end(name: str) -> None:
    world = STORIES[name].begin()
    rearm(world.kube)
    asyncio.run(tell(STORIES[name], world))
    assert end(world) == end(calm(name))


def rearm(kube: FakeKube) -> None:
    """Each write is the last one of a life."""
    inner = kube.on_write

    def wrote() -> None:
        inner()
        kube.crash_after(1)

    kube.on_write = wrote
    kube.crash_after(1)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, seed) for name in STORIES for seed in SEEDS] + [(MAIN, seed) for seed in MORE_SEEDS],
    ids=by_name,
)
def test_shuffled(name: str, seed: int) -> None:
    world = asyncio.run(tell(STORIES[name], STORIES[name].begin(), random.Random(seed)))
    asyncio.run(world.settle())
    assert end(world) == end(calm(name))


@pytest.mark.thorough
def test_an_operator_that_dies_once_after_any_write_of_a_rollout_comes_to_the_same_end() -> None:
    writes = len(calm(MAIN).kube.log)
    assert writes > 40, "a rollout has become shorter than it can be: is the log complete?"
    for number in range(1, writes + 1):
        world = STORIES[MAIN].begin()
        world.kube.crash_after(number)
        asyncio.run(tell(STORIES[MAIN], world))
        assert any("DIES" in line for line in world.log), f"the operator did not die after write {number}"
        assert end(world) == end(calm(MAIN)), f"another end after a crash at write {number}"

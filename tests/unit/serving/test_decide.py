"""What stories cannot show well: that nothing is written when nothing happened, verbs said twice, conditions."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, Literal

import pytest

from slipway.api.common import ACTION_ANNOTATION, rfc3339
from slipway.api.deployment import DeploymentStatus, HistoryEntry
from slipway.kube.act import act
from slipway.kube.client import Refused
from slipway.kube.fake import Crash
from slipway.kube.objects import DEPLOYMENTS, MODEL_VERSIONS, WORKLOADS
from slipway.kube.plan import Plan
from slipway.serving.decide import LOOK_AGAIN, decide, refused
from slipway.serving.observe import observe
from slipway.serving.rollout import rollback
from tests.support.builders import NAMESPACE
from tests.support.serving_builders import NAME, ready_version
from tests.support.serving_world import DEFAULTS, KEY, World, run_until
from tests.unit.serving.stories import (
    BY_HAND,
    TAMPERED,
    V1,
    V2,
    V3,
    Turn,
    add_gateway,
    ask_for,
    at,
    create,
    degraded,
    first,
    healthy,
    paused,
    refuse,
    remove_gateway,
    say,
    says,
    world_with,
)


async def told(world: World, *turns: Turn) -> World:
    for turn in turns:
        turn.act(world)
        await run_until(world, turn.until)
    return world


async def plan(world: World) -> Plan:
    found = await observe(world.kube, KEY, DEFAULTS, world.eyes)
    assert found is not None
    return decide(found, world.now)


async def serving(**spec: Any) -> World:
    return await told(world_with(), first(steps=BY_HAND, **spec))


async def waiting_at_ten(**spec: Any) -> World:
    return await told(await serving(**spec), Turn(ask_for(V2), paused(V2, 10)))


# ------------------------------------------------------------------------------------------------- writing nothing


@pytest.mark.parametrize(
    "turns",
    [
        pytest.param([first()], id="healthy"),
        pytest.param([first(route=False)], id="healthy behind a plain Service"),
        pytest.param([first(steps=BY_HAND), Turn(ask_for(V2), paused(V2, 10))], id="waiting for a person"),
        pytest.param(
            [first(steps=BY_HAND), Turn(ask_for(V2), paused(V2, 10)), Turn(say("abort"), degraded("abort", left=[V1]))],
            id="aborted",
        ),
        pytest.param([first(), Turn(ask_for("digits-v9"), says("no ModelVersion digits-v9"))], id="a missing version"),
        pytest.param([first(), Turn(refuse, says("refuses the route"))], id="a refused route"),
        pytest.param([first(), Turn(remove_gateway, says("does not exist"))], id="a missing Gateway"),
    ],
)
async def test_where_nothing_happens_nothing_is_written(turns: list[Turn]) -> None:
    world = await told(world_with(), *turns)
    writes = len(world.kube.log)
    for _ in range(50):
        world.now = world.now.replace(microsecond=123456)
        world.advance(61.7)
        assert not await world.look(), world.kube.log[-1]
        # Nothing looks again every second either.
        again = (await plan(world)).again
        assert again is None or again >= LOOK_AGAIN
    assert len(world.kube.log) == writes


async def test_a_timed_pause_is_waited_for_without_a_write() -> None:
    world = await told(world_with(), first(), Turn(ask_for(V2), says("pauses 5s")))
    await world.settle()
    writes = len(world.kube.log)
    again = (await plan(world)).again
    assert again is not None
    assert 0 < again <= 5
    for _ in range(4):
        world.advance(again / 5)
        assert not await world.look()
    assert len(world.kube.log) == writes
    world.advance(again / 5)
    assert await world.look()


# ------------------------------------------------------------------------------------------- a write that is refused


async def test_a_workload_that_the_cluster_refuses_is_told_and_the_stable_version_goes_on() -> None:
    world = await serving()
    world.kube.refusing = {WORKLOADS: "exceeded quota: small"}
    ask_for(V2)(world)
    with pytest.raises(Refused):
        for _ in range(9):
            await world.look()
    found = await observe(world.kube, KEY, DEFAULTS, world.eyes)
    assert found is not None
    told = refused(found, "the API server refused a write: exceeded quota: small", world.now)
    assert told is not None
    assert isinstance(told.status, DeploymentStatus)
    assert told.changes == ()
    assert told.status.phase == "Degraded"
    assert told.status.message.endswith("; the API server refused a write: exceeded quota: small")
    states = {c.type: (c.status, c.reason) for c in told.status.conditions}
    assert states["Stalled"] == ("True", "WriteRefused")
    assert states["Ready"][0] == "True", "digits-v1 serves"
    assert [(e.type, e.reason) for e in told.events] == [("Warning", "WriteRefused")]
    # said once, and over by itself
    await act(world.kube, found.object, told, world.now, "test")
    found = await observe(world.kube, KEY, DEFAULTS, world.eyes)
    assert found is not None
    again = refused(found, "the API server refused a write: exceeded quota: small", world.now)
    assert again is not None
    assert (again.status, again.events) == (found.status, ())
    world.kube.refusing = {}
    await run_until(world, paused(V2, 10))


# ------------------------------------------------------------------------------------------------------- verbs


async def test_a_verb_is_carried_out_once_though_its_annotation_stays() -> None:
    """The operator dies between the two writes, and the annotation is found again, over and over."""
    world = await waiting_at_ten()
    world.says("promote")
    world.kube.crash_after(1)
    with pytest.raises(Crash):
        await world.look()
    assert world.status["lastAction"]["pending"] is True
    assert world.status["step"]["index"] == 2
    assert ACTION_ANNOTATION in world.the(DEPLOYMENTS, NAME)["metadata"]["annotations"]
    await run_until(world, paused(V2, 50))
    assert world.status["lastAction"] == {
        "action": "promote",
        "at": world.status["lastAction"]["at"],
        "by": "kubectl-annotate",
        "result": "canary digits-v2: step 3 of 4, weight 50%",
        "pending": False,
    }
    assert not world.the(DEPLOYMENTS, NAME)["metadata"]["annotations"]


async def test_another_verb_in_the_place_of_one_that_was_answered_is_a_new_wish() -> None:
    world = await waiting_at_ten()
    world.says("promote")
    world.kube.crash_after(1)
    with pytest.raises(Crash):
        await world.look()
    world.says("abort")
    await run_until(world, degraded("said abort", left=[V1]))
    assert [h["outcome"] for h in world.status["history"]] == ["Aborted", "Promoted"]


async def test_the_same_verb_said_again_later_is_a_new_wish() -> None:
    world = await waiting_at_ten()
    await told(world, Turn(say("promote"), paused(V2, 50)), Turn(say("promote"), healthy(V2)))


async def test_abort_is_the_next_write_of_the_route_whatever_else_is_broken() -> None:
    world = await waiting_at_ten()
    world.refusal = {"Accepted": "NotAllowedByListeners: no"}
    world.troubles[V1] = {}
    world.neighbours()
    world.kube.remove(MODEL_VERSIONS, NAMESPACE, V2)
    world.says("abort")
    await world.settle()
    routes = [line for line in world.log if "routes" in line]
    assert routes[-1].endswith("routes digits-v1 100, digits-v2 0")


# -------------------------------------------------------------------------------------------------- conditions


def states(world: World) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in world.status["conditions"]}


async def test_an_alias_that_nobody_holds_stalls_a_deployment_that_serves_nothing_yet() -> None:
    world = world_with()
    create(version=None, model="digits", alias="nobody")(world)
    await run_until(world, says("holds the alias nobody"))
    assert states(world)["Stalled"] == ("True", "ModelVersionMissing")
    assert states(world)["Ready"][0] == "False"


async def test_conditions_from_the_first_version_to_an_abort() -> None:
    world = await told(world_with(), Turn(create(steps=BY_HAND), says("0 of 2")))
    assert states(world) == {
        "Ready": ("False", "FirstStarting"),
        "Progressing": ("True", "FirstStarting"),
        "Reconciling": ("True", "FirstStarting"),
        "Stalled": ("False", "FirstStarting"),
    }
    await run_until(world, healthy(V1))
    assert states(world) == {
        "Ready": ("True", "Healthy"),
        "Progressing": ("False", "Healthy"),
        "Reconciling": ("False", "Healthy"),
        "Stalled": ("False", "Healthy"),
    }
    await told(world, Turn(ask_for(V2), says("0 of 1")))
    assert states(world)["Progressing"] == ("True", "CandidateStarting")
    await run_until(world, paused(V2, 10))
    assert states(world)["Reconciling"] == ("True", "Paused")
    await told(world, Turn(say("abort"), degraded("abort", left=[V1])))
    assert states(world) == {
        "Ready": ("True", "Healthy"),
        "Progressing": ("False", "Aborted"),
        "Reconciling": ("False", "Aborted"),
        "Stalled": ("True", "Aborted"),
    }


async def test_ready_stays_true_from_the_first_answer_to_the_last() -> None:
    """At each weight there is a moment in which the newest route is not taken over yet: clients do not notice."""
    world = await serving()
    ready = []
    inner = world.kube.on_write

    def on_write() -> None:
        inner()
        ready.append(world.condition("Ready")["status"])

    world.kube.on_write = on_write
    await told(
        world,
        Turn(ask_for(V2), paused(V2, 10)),
        Turn(say("abort"), degraded("abort", left=[V1])),
        Turn(say("retry"), paused(V2, 10)),
        Turn(ask_for(V3), paused(V3, 10)),
        Turn(say("promote-full"), healthy(V3)),
    )
    assert set(ready) == {"True"}
    assert len(ready) > 80


async def test_a_condition_keeps_its_time_while_it_says_the_same() -> None:
    world = await serving()
    since = world.condition("Ready")["lastTransitionTime"]
    world.advance(100)
    await told(world, Turn(ask_for(V2), paused(V2, 10)))
    assert world.condition("Ready")["lastTransitionTime"] == since
    assert world.condition("Reconciling")["lastTransitionTime"] > since


async def test_the_reason_of_a_tampered_file_is_its_own() -> None:
    world = world_with(troubles={V2: TAMPERED})
    await told(world, first(), Turn(ask_for(V2), degraded("sha256", left=[V1])))
    assert states(world)["Stalled"] == ("True", "ArtifactTampered")
    assert states(world)["Ready"] == ("True", "Healthy")
    assert world.status["rollout"]["reason"] == "ArtifactTampered"


async def test_what_a_pod_said_before_a_retry_does_not_end_the_retry() -> None:
    tampered: dict[str, Any] = copy.deepcopy(TAMPERED)
    end = tampered["containerStatuses"][0]["lastState"]["terminated"]
    world = await told(world_with(), first(steps=BY_HAND), Turn(ask_for(V2), paused(V2, 10)))
    end["finishedAt"] = rfc3339(world.now)
    await told(
        world,
        Turn(lambda w: w.ails(V2, tampered, "of digits-v2 find another file"), degraded("sha256", left=[V1, V2])),
        Turn(lambda w: w.advance(3), lambda _w: True),
        Turn(say("retry"), says("canary digits-v2 starts: 0 of 1")),
    )
    await world.settle()
    assert world.status["rollout"].get("abortedAt") is None
    await told(world, Turn(lambda w: w.heals(V2), paused(V2, 10)))


async def test_a_missing_gateway_that_comes_is_found_without_an_event() -> None:
    world = await told(world_with(), first(), Turn(remove_gateway, says("does not exist")))
    assert states(world)["Stalled"] == ("True", "GatewayMissing")
    assert states(world)["Ready"] == ("False", "GatewayMissing")
    add_gateway(world)
    await run_until(world, healthy(V1), seconds=int(LOOK_AGAIN) + 2)


# ------------------------------------------------------------------------------------------------------ history


async def test_history_is_bounded_and_the_newest_comes_first() -> None:
    world = await serving(historyLimit=2)
    await told(
        world,
        Turn(ask_for(V2), paused(V2, 10)),
        Turn(ask_for(V3), paused(V3, 10)),
        Turn(say("promote-full"), healthy(V3)),
    )
    assert [(h["modelVersion"], h["outcome"], h["reason"]) for h in world.status["history"]] == [
        (V3, "Promoted", "replaced digits-v1"),
        (V2, "Superseded", "the spec asks for digits-v3 now"),
    ]
    assert all(h["from"] <= h["to"] for h in world.status["history"])


def remembered(world: World) -> list[tuple[str, str]]:
    return [(h["modelVersion"], h["outcome"]) for h in world.status["history"]]


async def test_without_a_history_only_what_serves_is_remembered() -> None:
    world = await serving(historyLimit=0)
    assert remembered(world) == [(V1, "Promoted")]
    await told(world, Turn(ask_for(V2), paused(V2, 10)), Turn(say("abort"), degraded("said abort", left=[V1])))
    assert remembered(world) == [(V1, "Promoted")]
    await told(world, Turn(ask_for(V3), paused(V3, 10)), Turn(say("promote-full"), healthy(V3)))
    assert remembered(world) == [(V3, "Promoted")]


P, A = "Promoted", "Aborted"


@pytest.mark.parametrize(
    ("history", "limit", "window", "expected"),
    [
        ([], 5, 0, []),
        ([(V1, P)], 0, 0, [(V1, P)]),
        ([(V2, A), (V1, P)], 0, 0, [(V1, P)]),
        ([(V2, A), (V1, P)], 1, 0, [(V1, P)]),
        ([(V2, A), (V1, P)], 2, 0, [(V2, A), (V1, P)]),
        ([(V2, A)], 0, 0, []),
        # as many aborted ones as there is room for, and then still what serves
        ([(V2, A), (V3, A), (V2, A), (V3, A), (V1, P)], 3, 0, [(V2, A), (V3, A), (V1, P)]),
        # a promotion beyond the window is an entry like any other
        ([(V3, P), (V2, P), (V1, P)], 2, 0, [(V3, P), (V2, P)]),
        ([(V3, A), (V3, A), (V2, P), (V3, A), (V1, P)], 3, 0, [(V3, A), (V3, A), (V2, P)]),
        # and one in it stays, so that there is a way back
        ([(V3, A), (V3, A), (V2, P), (V3, A), (V1, P)], 3, 1, [(V3, A), (V2, P), (V1, P)]),
        ([(V3, A), (V2, P), (V3, P), (V1, P)], 3, 2, [(V2, P), (V3, P), (V1, P)]),
    ],
)
def test_what_of_the_history_is_kept(
    history: list[tuple[str, Literal["Promoted", "Aborted"]]],
    limit: int,
    window: int,
    expected: list[tuple[str, str]],
) -> None:
    given = [
        HistoryEntry(model_version=version, from_="2026-11-22T10:00:00Z", to="2026-11-22T10:10:00Z", outcome=outcome)
        for version, outcome in history
    ]
    found = rollback.kept(given, limit, window)
    assert [(entry.model_version, entry.outcome) for entry in found] == expected


def test_many_versions_in_a_row_do_not_pile_up() -> None:
    async def tell() -> World:
        world = world_with(versions=[f"digits-v{n}" for n in range(1, 8)])
        await told(world, first(steps=BY_HAND, delay="1h"))
        for number in range(2, 8):
            version = f"digits-v{number}"
            await told(
                world,
                Turn(ask_for(version), paused(version, 10)),
                Turn(say("promote-full"), healthy(version, alone=False)),
            )
        await run_until(world, lambda w: len(w.running()) == 4)
        return world

    world = asyncio.run(tell())
    assert sorted(world.running()) == ["digits-v4", "digits-v5", "digits-v6", "digits-v7"]


def test_a_version_that_was_deleted_and_made_again_is_just_that_version() -> None:
    async def tell() -> World:
        world = await serving()
        world.version(ready_version(V1), "registers digits-v1 again")
        return await told(world, Turn(lambda _w: None, healthy(V1)))

    assert asyncio.run(tell()).running() == [V1]


async def test_at_means_that_the_gateway_follows() -> None:
    world = await told(await serving(), Turn(ask_for(V2), at(V2, 10)))
    assert "gateway   follows digits-v1 90, digits-v2 10" in "\n".join(world.log)

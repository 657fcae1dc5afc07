"""Clients that stay with their version while the weights change, under load through a real gateway.

They ask all the time, also while the weights change: no request fails, whoever need not move has no answer of another
version, and whoever moves moves once. `make test-e2e ARGS="-rA -k stickiness"` prints how many requests that were.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx
import pytest

from slipway.kube.objects import DEPLOYMENTS
from tests.support import staying
from tests.support.e2e import MODEL, QUESTION, Tenant, World, aborted, settled_on, weights
from tests.support.load import Load
from tests.support.staying import Rest

EXAMPLE = "canary-by-hand/deployment.yaml"
V1, V2 = "digits-v1", "digits-v2"
STEPS = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]
PEOPLE = [{"x-user": f"person-{number}"} for number in range(60)]
REST = 6.0
"""Seconds at each weight: some ten requests of each client."""


@pytest.fixture
def sticky(tenant: Tenant) -> Tenant:
    """Given digits-v1 serving, digits-v2 ready, and clients that are told apart by a header."""
    return _given(tenant, {"header": "x-user"})


def _given(tenant: Tenant, stickiness: Mapping[str, str]) -> Tenant:
    (example,) = tenant.example(EXAMPLE)
    route = {**example["spec"]["route"], "stickiness": dict(stickiness)}
    tenant.versions(1, 2)
    canary = {"steps": STEPS, "scaleDownDelay": "5s"}
    tenant.serving(EXAMPLE, route=route, strategy={"type": "Canary", "canary": canary})
    return tenant


def _paused_at(tenant: Tenant, percent: int) -> None:
    tenant.until(
        DEPLOYMENTS,
        MODEL,
        lambda o: weights(o) == (100 - percent, percent, True) and o["status"]["phase"] == "Paused",
        what=f"paused at {percent}%",
    )


def _rest(load: Load) -> Rest:
    """Ask for a while in which nothing is written."""
    begun = time.monotonic()
    load.go_on(REST)
    return Rest(begun, time.monotonic())


def test_a_client_stays_and_only_the_part_that_must_move_moves(world: World, sticky: Tenant) -> None:
    with world.load(sticky.host, clients=PEOPLE) as load:
        rests = {0: _rest(load)}
        # When
        sticky.ask_for(V2)
        for percent in (20, 50):
            _paused_at(sticky, percent)
            rests[percent] = _rest(load)
            sticky.say("promote")
        sticky.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted")
        rests[100] = _rest(load)
    # Then no request failed
    report = load.check()
    at = {percent: staying.versions(report, rest) for percent, rest in rests.items()}
    assert all(len(found) == len(PEOPLE) for found in at.values()), "a client had no answer at some weight"
    assert set(at[0].values()) == {"1"}
    # and whoever moved came to the new version and stays there, and nobody else saw it
    for before, after in ((0, 20), (20, 50), (50, 100)):
        moved = staying.movers(report, rests[before], rests[after])
        assert set(moved.values()) == {("1", "2")}, f"between {before}% and {after}%: {moved}"
    count = {percent: list(found.values()).count("2") for percent, found in at.items()}
    print(f"with version 2, by percent: {count}")
    # The names are always the same, and so is the hash: 3 standard deviations of a draw of 60.
    assert abs(count[20] - 12) <= 9
    assert abs(count[50] - 30) <= 12
    assert count[100] == len(PEOPLE)


def test_an_abort_takes_exactly_those_back_who_had_moved(world: World, sticky: Tenant) -> None:
    with world.load(sticky.host, clients=PEOPLE) as load:
        sticky.ask_for(V2)
        _paused_at(sticky, 20)
        before = _rest(load)
        # When
        sticky.say("abort")
        sticky.until(DEPLOYMENTS, MODEL, aborted, what="aborted")
        load.go_on(2)  # until the gateway follows for sure: nobody waits for the proof of an abort
        after = _rest(load)
    # Then
    report = load.check()
    had_moved = {client for client, version in staying.versions(report, before).items() if version == "2"}
    assert had_moved
    back = staying.movers(report, before, after)
    assert set(back) == had_moved
    assert set(back.values()) == {("2", "1")}
    assert set(staying.versions(report, after).values()) == {"1"}


def test_the_gateway_gives_a_client_a_cookie_by_which_it_stays(world: World, tenant: Tenant) -> None:
    _given(tenant, {"cookie": "slipway-version"})
    tenant.ask_for(V2)
    _paused_at(tenant, 20)
    cookies = []
    for _ in range(30):
        answer = httpx.post(
            f"{world.gateway}/v2/models/{MODEL}/infer",
            json=QUESTION,
            headers={"Host": tenant.host},
            timeout=15,
            trust_env=False,
        )
        cookies.append({"Cookie": f"slipway-version={answer.cookies['slipway-version']}"})
    with world.load(tenant.host, clients=cookies) as load:
        first = _rest(load)
        tenant.say("promote")
        _paused_at(tenant, 50)
        then = _rest(load)
    report = load.check()
    assert len(staying.versions(report, first)) == len(staying.versions(report, then)) == len(cookies)
    moved = staying.movers(report, first, then)
    # 3 in 10 move: that none of 30 does comes about twice in 100,000 times.
    assert set(moved.values()) == {("1", "2")}, moved

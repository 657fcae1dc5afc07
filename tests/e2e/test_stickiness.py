"""Clients that stay with their version while the weights change, through a real gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from slipway.kube.objects import DEPLOYMENTS
from tests.support.e2e import MODEL, QUESTION, Tenant, World, aborted, settled_on, weights

EXAMPLE = "canary-by-hand/deployment.yaml"
V1, V2 = "digits-v1", "digits-v2"
STEPS = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]
PEOPLE = [f"person-{number}" for number in range(60)]
TIMES = 4
"""Requests of each client at each weight."""


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


def _who_answers(world: World, host: str, clients: Iterable[Mapping[str, str]]) -> list[str]:
    """The version that each client gets; every request is answered, and by one version for each client."""

    def asks(headers: Mapping[str, str]) -> str:
        seen = set()
        with httpx.Client(trust_env=False, timeout=15) as client:
            for _ in range(TIMES):
                answer = client.post(
                    f"{world.gateway}/v2/models/{MODEL}/infer", json=QUESTION, headers={"Host": host, **headers}
                )
                assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
                seen.add(str(answer.json()["model_version"]))
        assert len(seen) == 1, f"{headers} saw {seen}"
        return seen.pop()

    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(asks, clients))


def test_a_client_stays_and_only_the_part_that_must_move_moves(world: World, sticky: Tenant) -> None:
    people: list[dict[str, Any]] = [{"x-user": person} for person in PEOPLE]
    at = {0: _who_answers(world, sticky.host, people)}
    assert set(at[0]) == {"1"}
    # When
    sticky.ask_for(V2)
    for percent in (20, 50):
        _paused_at(sticky, percent)
        at[percent] = _who_answers(world, sticky.host, people)
        sticky.say("promote")
    sticky.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted")
    at[100] = _who_answers(world, sticky.host, people)
    # Then whoever came to the new version stays there
    for before, after in ((0, 20), (20, 50), (50, 100)):
        back = [p for p, a, b in zip(PEOPLE, at[before], at[after], strict=True) if (a, b) == ("2", "1")]
        assert not back, f"went back between {before}% and {after}%: {back}"
    moved = {percent: versions.count("2") for percent, versions in at.items()}
    print(moved)
    # The names are always the same, and so is the hash: 3 standard deviations of a draw of 60.
    assert abs(moved[20] - 12) <= 9
    assert abs(moved[50] - 30) <= 12
    assert moved[100] == len(PEOPLE)


def test_an_abort_takes_exactly_those_back_who_had_moved(world: World, sticky: Tenant) -> None:
    people: list[dict[str, Any]] = [{"x-user": person} for person in PEOPLE]
    sticky.ask_for(V2)
    _paused_at(sticky, 20)
    assert "2" in _who_answers(world, sticky.host, people)
    # When
    sticky.say("abort")
    sticky.until(DEPLOYMENTS, MODEL, aborted, what="aborted")
    # Then
    assert set(_who_answers(world, sticky.host, people)) == {"1"}


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
    first = _who_answers(world, tenant.host, cookies)
    tenant.say("promote")
    _paused_at(tenant, 50)
    then = _who_answers(world, tenant.host, cookies)
    assert not [pair for pair in zip(first, then, strict=True) if pair == ("2", "1")]
    assert then.count("2") >= first.count("2")

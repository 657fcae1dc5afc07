"""What each provider writes, and what it makes of the answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from slipway.api.common import Label, parse_time
from slipway.api.deployment import DeploymentSpec, DeploymentStatus, Route, VersionStatus, Weights
from slipway.api.reasons import Reason
from slipway.serving.observed import Defaults, Observed, Running, Target
from slipway.serving.rollout.situation import traffic_differs
from slipway.serving.traffic import gateway_api, service
from slipway.serving.traffic.seen import SETTLE, Seen, note
from tests.support.builders import T0
from tests.support.serving_builders import deployment, gateway

NOW = parse_time(T0)
PARENT = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "gateways", "name": "public"}
YES = {"Accepted": ("True", "Accepted", ""), "ResolvedRefs": ("True", "ResolvedRefs", "")}


def owner(**spec: Any) -> dict[str, Any]:
    made = deployment(**spec)
    made["metadata"] |= {"uid": "dep-uid", "generation": 1}
    return made


def routed(made: Mapping[str, Any]) -> tuple[DeploymentSpec, Route]:
    spec = DeploymentSpec.model_validate(made["spec"])
    assert spec.route is not None
    return spec, spec.route


def route(weights: Mapping[str, int], **spec: Any) -> dict[str, Any]:
    made = owner(**spec)
    return gateway_api.manifest(made, *routed(made), weights)


def live(
    *, generation: int = 3, parents: list[dict[str, Any]] | None = None, weights: Mapping[str, int] | None = None
) -> dict[str, Any]:
    found = route(weights or {"digits-v1": 90, "digits-v2": 10})
    found["metadata"]["generation"] = generation
    found["status"] = {"parents": parents if parents is not None else [answer(generation)]}
    return found


def answer(
    generation: int, said: Mapping[str, tuple[str, str, str]] = YES, parent: Mapping[str, Any] = PARENT
) -> dict[str, Any]:
    return {
        "parentRef": dict(parent),
        "controllerName": "example.com/gateway",
        "conditions": [
            {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation}
            for kind, (status, reason, message) in said.items()
        ],
    }


def observed(**more: Any) -> Observed:
    made = owner(**more.pop("spec", {}))
    status = DeploymentStatus(stable=_version("digits-v1"), candidate=_version("digits-v2"))
    given = {"gateway": gateway(), "status": status, **more}
    return Observed(
        object=made,
        spec=DeploymentSpec.model_validate(made["spec"]),
        target=Target("digits-v2", True),
        defaults=Defaults("server:1"),
        **given,
    )


def _version(name: str) -> VersionStatus:
    return VersionStatus(model_version=name, workload=f"digits-{name}", service=f"digits-{name}")


def seen(**more: Any) -> Seen:
    world = observed(**more)
    assert world.spec.route is not None
    return gateway_api.seen(world, world.spec.route)


# ---------------------------------------------------------------------------------------------------- Gateway API


def test_the_route_is_written_whole_with_every_default() -> None:
    assert route({"digits-v2": 10, "digits-v1": 90})["spec"] == {
        "parentRefs": [PARENT],
        "hostnames": ["digits.example.com"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [
                    {"group": "", "kind": "Service", "name": "digits-digits-v1", "port": 8080, "weight": 90},
                    {"group": "", "kind": "Service", "name": "digits-digits-v2", "port": 8080, "weight": 10},
                ],
                "timeouts": {"request": "35s"},
            }
        ],
    }


@pytest.mark.parametrize(
    ("timeout", "wanted"),
    [
        ("30s", "35s"),
        ("1ms", "6s"),
        ("99994s", "99999s"),
        ("99995s", "27h46m40s"),
        ("28h", "28h5s"),
        ("7d", "168h5s"),
        ("9999d99999h", "99999h"),
    ],
)
def test_a_timeout_is_written_as_gateway_api_takes_it(timeout: str, wanted: str) -> None:
    (rule,) = route({"digits-v1": 100}, server={"timeout": timeout})["spec"]["rules"]
    assert rule["timeouts"] == {"request": wanted}
    # gateway-api, apis/v1/shared_types.go: Duration
    assert re.fullmatch("([0-9]{1,5}(h|m|s|ms)){1,4}", wanted)


def test_a_gateway_without_namespace_is_one_of_this_namespace_and_a_listener_may_be_named() -> None:
    made = route({"digits-v1": 100}, route={"gateway": {"name": "g", "sectionName": "web"}, "hostnames": ["a.b"]})
    assert made["spec"]["parentRefs"] == [{**PARENT, "namespace": "team", "name": "g", "sectionName": "web"}]


def test_what_the_api_server_adds_is_no_difference_but_what_was_taken_away_is() -> None:
    wanted = route({"digits-v1": 100})
    there = live(weights={"digits-v1": 100})
    there["spec"]["rules"][0]["backendRefs"][0]["filters"] = []
    assert not traffic_differs(wanted, there)
    there["spec"]["parentRefs"][0]["sectionName"] = "web"
    assert traffic_differs(wanted, there)
    assert traffic_differs(wanted, live(weights={"digits-v1": 100, "digits-v2": 0}))
    assert traffic_differs(wanted, live(weights={"digits-v1": 99}))


@pytest.mark.parametrize(
    ("parents", "accepted", "reason", "words"),
    [
        pytest.param([answer(3)], True, None, "", id="both conditions are true at this generation"),
        pytest.param([answer(2)], False, Reason.ROUTE_PENDING, "not taken", id="they are true at an older one"),
        pytest.param([], False, Reason.ROUTE_PENDING, "gateways/public", id="nobody said anything"),
        pytest.param(
            [answer(3, parent={**PARENT, "name": "other"})],
            False,
            Reason.ROUTE_PENDING,
            "not taken",
            id="another Gateway said yes",
        ),
        pytest.param(
            [answer(3, parent={**PARENT, "sectionName": "web"})],
            False,
            Reason.ROUTE_PENDING,
            "not taken",
            id="another listener said yes",
        ),
        pytest.param(
            [answer(3, {"Accepted": ("True", "Accepted", "")})],
            False,
            Reason.ROUTE_PENDING,
            "not taken",
            id="only one of the two was said",
        ),
        pytest.param(
            [answer(3, {**YES, "Accepted": ("False", "NotAllowedByListeners", "not from this namespace")})],
            False,
            Reason.ROUTE_REFUSED,
            "refuses the route: NotAllowedByListeners: not from this namespace",
            id="the Gateway does not accept it",
        ),
        pytest.param(
            [answer(3, {**YES, "ResolvedRefs": ("False", "BackendNotFound", "no service x")})],
            False,
            Reason.ROUTE_REFUSED,
            "cannot resolve the route's references: BackendNotFound: no service x",
            id="a backend is not found",
        ),
        pytest.param(
            [answer(2, {**YES, "Accepted": ("False", "NotAllowedByListeners", "no")})],
            False,
            Reason.ROUTE_PENDING,
            "not taken",
            id="it was refused at an older generation",
        ),
    ],
)
def test_the_gateways_answer(parents: list[dict[str, Any]], accepted: bool, reason: Reason | None, words: str) -> None:
    found = seen(route=live(parents=parents))
    assert found.accepted is accepted
    assert (found.trouble.reason if found.trouble else None) is reason
    assert words in (found.trouble.message if found.trouble else "")
    assert found.share == {"digits-v1": 90, "digits-v2": 10}
    assert found.mark == "generation 3"


def test_a_gateway_that_is_not_up_itself_is_quoted() -> None:
    down = gateway()
    down["status"] = {
        "conditions": [
            {"type": "Programmed", "status": "False", "reason": "AddressNotAssigned", "message": "no address yet"}
        ]
    }
    found = seen(route=live(parents=[]), gateway=down)
    assert found.trouble is not None
    assert "Programmed=False, AddressNotAssigned: no address yet" in found.trouble.message
    assert not found.trouble.stalled


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        pytest.param({"gateway": None}, Reason.GATEWAY_MISSING, id="the Gateway does not exist"),
        pytest.param({"gateway": None, "gateway_api": False}, Reason.GATEWAY_MISSING, id="its kind does not exist"),
        pytest.param({"gateway": None, "gateway_known": False}, None, id="it may not be looked at: its answer counts"),
    ],
)
def test_a_gateway_that_is_missing(world: dict[str, Any], reason: Reason | None) -> None:
    found = seen(route=live(), **world)
    assert (found.trouble.reason if found.trouble else None) is reason
    assert found.accepted is (reason is None)


def test_a_route_that_was_never_accepted_does_not_serve_and_one_that_was_does() -> None:
    assert not seen(route=live(generation=1)).served
    assert seen(route=live(generation=2, parents=[answer(1)])).served
    assert not seen(route=live(generation=2, parents=[])).served


@pytest.mark.parametrize(
    ("listeners", "hosts", "url"),
    [
        ([{"name": "http", "port": 80, "protocol": "HTTP"}], ["a.b"], "http://a.b/v2/models/digits/infer"),
        ([{"name": "tls", "port": 443, "protocol": "HTTPS"}], ["a.b"], "https://a.b/v2/models/digits/infer"),
        ([{"name": "http", "port": 8080, "protocol": "HTTP"}], ["a.b"], "http://a.b:8080/v2/models/digits/infer"),
        ([], ["*.b", "c.b"], "http://c.b/v2/models/digits/infer"),
        ([], ["*.b"], None),
    ],
)
def test_the_url_is_that_of_the_listener(listeners: list[dict[str, Any]], hosts: list[str], url: str | None) -> None:
    there = gateway()
    there["spec"]["listeners"] = listeners
    world = observed(gateway=there, spec={"route": {"gateway": {"name": "public"}, "hostnames": hosts}})
    assert world.spec.route is not None
    assert gateway_api.url(world, world.spec.route, "digits") == url


# ------------------------------------------------------------------------------------------------- a plain Service


def front(weight: int) -> dict[str, Any]:
    made = owner(route=False)
    return service.manifest(made, stable="digits-v1", candidate="digits-v2", weight=weight)


def test_the_selector_is_the_stable_versions_or_everybodys_or_the_candidates() -> None:
    chosen = [front(weight)["spec"]["selector"].get(Label.MODEL_VERSION) for weight in (0, 33, 100)]
    assert chosen == ["digits-v1", None, "digits-v2"]


def test_a_selector_that_becomes_wider_is_a_difference() -> None:
    assert traffic_differs(front(33), front(0))
    assert not traffic_differs(front(33), front(50))


def behind(pods: Mapping[str, int], ready: Mapping[str, int], weight: int) -> Seen:
    running = {
        version: Running(workload={"spec": {"replicas": count}, "status": {"readyReplicas": count}}, endpoints=count)
        for version, count in ready.items()
    }
    return service.seen(observed(spec={"route": False}, front=front(weight), front_pods=pods, running=running))


def test_a_share_is_believed_when_the_endpoints_are_those_of_the_selector() -> None:
    ready = {"digits-v1": 3, "digits-v2": 1}
    assert behind({"digits-v1": 3, "digits-v2": 1}, ready, 20).accepted
    assert behind({"digits-v1": 3, "digits-v2": 1}, ready, 20).share == {"digits-v1": 75, "digits-v2": 25}
    assert not behind({"digits-v1": 3}, ready, 20).accepted
    assert not behind({"digits-v1": 3, "digits-v2": 1}, ready, 0).accepted
    assert behind({"digits-v1": 3}, ready, 0).accepted


# ----------------------------------------------------------------------------------------------------- believing


def noted(before: Weights | None, *, mark: str = "generation 3", accepted: bool = True, after: float = 0) -> Weights:
    found = Seen(share={"digits-v1": 90, "digits-v2": 10}, mark=mark, accepted=accepted)
    return note(found, before, candidate="digits-v2", now=NOW + timedelta(seconds=after))


def test_what_was_just_accepted_is_not_believed_yet() -> None:
    first = noted(None)
    assert not first.verified
    assert not noted(first, after=SETTLE - 0.1).verified
    assert noted(first, after=SETTLE).verified
    assert noted(first, after=SETTLE).accepted_at == first.accepted_at


def test_a_new_write_or_a_no_begins_the_settle_time_anew() -> None:
    old = noted(noted(None), after=60)
    assert old.verified
    assert not noted(old, mark="generation 4", after=61).verified
    refused = noted(old, accepted=False, after=61)
    assert not refused.verified
    assert not noted(refused, after=62).verified
    assert noted(noted(refused, after=62), after=64).verified


def test_an_operator_that_starts_anew_does_not_believe_at_once() -> None:
    """However long ago the gateway accepted: only a pass that wrote it down starts the settle time."""
    forgotten = noted(None, after=3600)
    assert not forgotten.verified


def test_stable_and_candidate_sum_to_100() -> None:
    assert (noted(None).stable, noted(None).candidate) == (90, 10)
    gone = replace(Seen(), mark="generation 9")
    assert note(gone, None, candidate=None, now=NOW).stable == 100

"""The one BackendTrafficPolicy of a route, and what its gateway answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from slipway.api.common import rfc3339
from slipway.api.deployment import DeploymentStatus
from slipway.api.reasons import Reason
from slipway.kube.plan import Plan
from slipway.serving.decide import LOOK_AGAIN, decide
from slipway.serving.report import PATIENCE
from slipway.serving.traffic import policy
from slipway.serving.traffic.policy import Taken, taken
from tests.support.serving_builders import deployment, envoy_gateway
from tests.unit.serving.test_counting import NOW, STICKY, world
from tests.unit.serving.test_sticky import By

PARENT = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "gateways", "name": "public"}


def owner() -> dict[str, Any]:
    made = deployment()
    made["metadata"]["uid"] = "dep-uid"
    return made


def live(*conditions: dict[str, Any], generation: int = 2, gateway: str = "public") -> dict[str, Any]:
    made = policy.manifest(owner(), stickiness=By(header="X-User"), buffer=None)
    assert made is not None
    made["metadata"]["generation"] = generation
    ref = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "gateways", "name": gateway}
    made["status"] = {"ancestors": [{"ancestorRef": ref, "controllerName": "x", "conditions": list(conditions)}]}
    return made


def accepted(status: str, *, generation: int = 2, reason: str = "Accepted", message: str = "") -> dict[str, Any]:
    return {
        "type": "Accepted",
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
    }


def test_no_policy_where_nothing_needs_one() -> None:
    assert policy.manifest(owner(), stickiness=None, buffer=None) is None


def test_it_adds_to_the_platforms_own_and_goes_with_the_deployment() -> None:
    made = policy.manifest(owner(), stickiness=By(cookie="seat"), buffer=64 * 1024 * 1024)
    assert made is not None
    assert made["metadata"]["name"] == "digits"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "dep-uid"
    assert made["spec"] == {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "digits"}],
        "mergeType": "StrategicMerge",
        "loadBalancer": {
            "type": "ConsistentHash",
            "consistentHash": {"type": "Cookie", "cookie": {"name": "seat", "ttl": "0s"}},
        },
        "requestBuffer": {"limit": "67108864"},
    }


def test_each_need_brings_its_own_part_only() -> None:
    mirror = policy.manifest(owner(), stickiness=None, buffer=1024)
    sticky = policy.manifest(owner(), stickiness=By(header="X-User"), buffer=None)
    assert mirror is not None
    assert sticky is not None
    assert "loadBalancer" not in mirror["spec"]
    assert "requestBuffer" not in sticky["spec"]


@pytest.mark.parametrize(
    "found",
    [
        None,
        live(),
        live(accepted("True", generation=1)),
        live(accepted("False", generation=1)),
        live(accepted("True"), gateway="another"),
        live({**accepted("True"), "type": "Merged"}),
    ],
    ids=["absent", "mute", "yes to an older one", "no to an older one", "another gateway's", "another condition"],
)
def test_nobody_has_answered_yet(found: dict[str, Any] | None) -> None:
    assert taken(found, PARENT) == Taken(accepted=False, trouble=None)


def test_taken_over() -> None:
    assert taken(live(accepted("True")), PARENT) == Taken(accepted=True)


def test_another_policy_was_there_first() -> None:
    words = "Unable to target HTTPRoute digits, another BackendTrafficPolicy has already attached to it"
    found = taken(live(accepted("False", reason="Conflicted", message=words)), PARENT)
    assert not found.accepted
    assert found.trouble is not None
    assert found.trouble.reason is Reason.ROUTE_REFUSED
    assert found.trouble.stalled
    assert found.trouble.message == (
        f"the Gateway gateways/public does not accept the BackendTrafficPolicy team/digits: Conflicted: {words}; a "
        "route can have one such policy: delete the other one, or leave stickiness and shadow out"
    )


def test_refused_in_the_gateways_own_words() -> None:
    found = taken(live(accepted("False", reason="Invalid", message="no such thing")), PARENT)
    assert found.trouble is not None
    assert found.trouble.message.endswith("BackendTrafficPolicy team/digits: Invalid: no such thing")


# ------------------------------------------------------------------------------------------ what is made of it


def told(found: dict[str, Any], *, age: timedelta, controller: str | None = None) -> tuple[str, Plan]:
    """The message of a rollout whose clients are to stay, beside that policy; and the whole plan."""
    found["metadata"]["creationTimestamp"] = rfc3339(NOW - age)
    known = envoy_gateway()
    known["spec"]["controllerName"] = controller or known["spec"]["controllerName"]
    plan = decide(replace(world(route=STICKY), policy=found, policies=True, gateway_class=known), NOW)
    assert isinstance(plan.status, DeploymentStatus)
    return plan.status.message, plan


def test_a_policy_that_nobody_answers_is_spoken_of_after_a_while() -> None:
    young, plan = told(live(), age=PATIENCE - timedelta(seconds=1))
    assert "BackendTrafficPolicy" not in young
    assert plan.again is not None
    assert plan.again <= LOOK_AGAIN, "nothing wakes us when it is answered"
    old, _ = told(live(), age=PATIENCE)
    assert old.endswith("; the gateway has not taken the BackendTrafficPolicy team/digits over yet")


def test_one_that_is_refused_at_once_and_one_that_is_taken_over_never() -> None:
    refused, _ = told(live(accepted("False", reason="Invalid", message="no such thing")), age=timedelta())
    assert refused.endswith("does not accept the BackendTrafficPolicy team/digits: Invalid: no such thing")
    fine, _ = told(live(accepted("True")), age=timedelta(hours=1))
    assert "BackendTrafficPolicy" not in fine
